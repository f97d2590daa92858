"""Names of tasks: a card that is read at once, and a class that is imported only when it is asked for."""

import importlib
import os
from pathlib import Path
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


def is_folder(name: str) -> bool:
    """Whether a task's name means a folder of arrays: it is a path, or there is a ``card.toml`` in it."""
    return name not in _entries and ("/" in name or os.sep in name or Path(name, "card.toml").is_file())


def get_card(name: str) -> TaskCard:
    """Return the card of a registered task (no import), or that of the task that :func:`get_task` finds."""
    return _entries[name].card if name in _entries else get_task(name).card


def get_task(name: str) -> "type[LRATask]":
    """Return the class of a registered task, the one at a dotted path such as ``my_package.MyTask``, or the task of a
    folder of arrays: a path such as ``./my_task``, or the name of a folder with a ``card.toml``.

    Raises:
        TaskError: no such name, module, class or folder, the class is no LRATask, or the folder is no task.
    """
    if is_folder(name):
        return _folder_task(Path(name))
    target = name if "." in name else _entry(name).target
    from lra_tasks.datamodule import LRATask

    module_name, _, class_name = target.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise TaskError(f"The task {target!r} cannot be imported ({error}); check the dotted path.") from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, LRATask)):
        raise TaskError(f"{target!r} is not a subclass of lra_tasks.LRATask; check the dotted path.")
    return found


def _folder_task(folder: Path) -> "type[LRATask]":
    from lra_tasks.arrays import array_task

    found = array_task(folder)
    if found.name in _entries:  # its results would pass for those of the task of that name
        raise TaskError(f"The folder {folder} has the name of the task {found.name!r}: give it another one.")
    return found


def _entry(name: str) -> _Entry:
    if name not in _entries:
        names = ", ".join(_entries)
        raise TaskError(f"There is no task {name!r}; there are {names}.{nearest(name, _entries)}")
    return _entries[name]


register_task("listops", "lra_tasks.listops.ListOps", cards.LISTOPS)
register_task("text", "lra_tasks.text.Text", cards.TEXT)
register_task("retrieval", "lra_tasks.retrieval.Retrieval", cards.RETRIEVAL)
register_task("image", "lra_tasks.image.Image", cards.IMAGE)
register_task("pathfinder", "lra_tasks.pathfinder.Pathfinder", cards.PATHFINDER)
register_task("pathx", "lra_tasks.pathfinder.PathX", cards.PATHX)
