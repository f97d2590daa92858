"""Names of tasks: a card that is read at once, and a class that is imported only when it is asked for."""

import importlib
from typing import TYPE_CHECKING, NamedTuple

from lra_tasks import cards
from lra_tasks.card import TaskCard
from lra_tasks.errors import TaskError, nearest

if TYPE_CHECKING:
    from lra_tasks.datamodule import LRATask


class _Entry(NamedTuple):
    target: str  # dotted path of the class
    card: TaskCard


_entries: dict[str, _Entry] = {}


def register_task(name: str, target: str, card: TaskCard) -> None:
    """Make the class at the dotted path ``target`` known as ``name``.

    Raises:
        TaskError: the name is taken, or holds a dot (dots mark the path of a user's own class).
    """
    if name in _entries:
        raise TaskError(f"The task name {name!r} is taken by {_entries[name].target}; choose another.")
    if "." in name:
        raise TaskError(f"A task name holds no dot, unlike {name!r}.")
    _entries[name] = _Entry(target, card)


def task_names() -> list[str]:
    """Return the registered names in the order of the LRA table."""
    return list(_entries)


def task_cards() -> dict[str, TaskCard]:
    """Return the card of every registered task, by name."""
    return {name: entry.card for name, entry in _entries.items()}


def get_card(name: str) -> TaskCard:
    """Return the card of a registered task (no import), or that of the class at a dotted path."""
    return get_task(name).card if "." in name else _entry(name).card


def get_task(name: str) -> "type[LRATask]":
    """Return the class of a registered task, or the one at a dotted path such as ``my_package.MyTask``.

    Raises:
        TaskError: no such name, module or class, or the class is no LRATask.
    """
    from lra_tasks.datamodule import LRATask

    target = name if "." in name else _entry(name).target
    module_name, _, class_name = target.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise TaskError(f"The task {target!r} cannot be imported ({error}); check the dotted path.") from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, LRATask)):
        raise TaskError(f"{target!r} is not a subclass of lra_tasks.LRATask; check the dotted path.")
    return found


def _entry(name: str) -> _Entry:
    if name not in _entries:
        names = ", ".join(_entries)
        raise TaskError(f"There is no task {name!r}; there are {names}.{nearest(name, _entries)}")
    return _entries[name]


register_task("listops", "lra_tasks.listops.ListOps", cards.LISTOPS)
register_task("pathfinder", "lra_tasks.pathfinder.Pathfinder", cards.PATHFINDER)
register_task("pathx", "lra_tasks.pathfinder.PathX", cards.PATHX)
