"""The models that can be compared: what each is, and its size on each task."""

from collections.abc import Sequence
from itertools import groupby
from typing import get_args

from torch import nn

from lra_hgrn.cell import compose_cell
from lra_hgrn.config.compose import find, has_recipe, names
from lra_hgrn.errors import UserError
from lra_hgrn.models import SequenceClassifier
from lra_hgrn.models.match import build_without_weights, size_of, task_spec
from lra_hgrn.models.registry import Family, mixer_card
from lra_hgrn.results.tables.table import MISSING, Column, Entry, Table
from lra_tasks import task_names

_FAMILIES = get_args(Family)
_HEADS = ("Family", "Model", "Name", "Token mixer", "Causal", "Compute", "Memory")


def catalogue(models: Sequence[str] = (), match: str | None = None) -> Table:
    """Return a table with one row for each model, the families one after another.

    Args:
        models: names in ``configs/models``, or files; none: all of ``configs/models``.
        match: count at the width that ``model.match`` of this value gives; None: at the recipe's.

    Raises:
        UserError: there is no such model, or it can be built for no task.
    """
    if match is not None:
        find("models", match)
    known = task_names()
    tasks = sorted(names("tasks"), key=lambda task: known.index(task) if task in known else len(known))
    sizes = [Column(task, (f"parameters_{task}",)) for task in tasks]
    table = Table("", [*map(_words, _HEADS), *sizes, _words("Paper", wraps=True)])
    rows = []
    for model in models or names("models"):
        find("models", model)
        rows.append(_row(model, tasks, match))
    rows.sort(key=lambda row: _rank(row[0].text))
    for _, family in groupby(rows, key=lambda row: row[0].text):
        table.begin()
        table.rows += family
    where = f"at the width that matches {match}" if match else "of each task's recipe"
    table.remarks.append(
        f"Number of parameters {where}, at full scale; {MISSING}: there is no recipe, the model does not fit "
        "the task, or no width comes within 5 %. Memory: what training keeps. L: length."
    )
    return table


def _words(head: str, wraps: bool = False) -> Column:
    return Column(head, (head.lower().replace(" ", "_"),), numeric=False, wraps=wraps)


def _rank(family: str) -> int:
    return _FAMILIES.index(family) if family in _FAMILIES else len(_FAMILIES)


def _row(model: str, tasks: Sequence[str], match: str | None) -> list[Entry]:
    words = [f"model.match={match}"] if match else []
    built: dict[str, nn.Module | None] = dict.fromkeys(tasks)
    refused = []
    for task in tasks:
        if has_recipe(model, task):
            try:
                config = compose_cell(model, task, words).config
                built[task] = build_without_weights(task_spec(config), config.model)
            except UserError as error:
                refused.append(error)
    if refused and match is None and not any(built.values()):
        raise refused[0]
    described = compose_cell(model, tasks[0]).config.model
    card = mixer_card(described.target)
    causal = {_causal(net) for net in built.values() if net is not None}
    texts = (
        card.family if card else "of your own",
        model,
        described.name,
        described.target,
        {(True,): "yes", (False,): "no", (): MISSING}.get(tuple(causal), "by task"),
        card.compute if card else MISSING,
        card.memory if card else MISSING,
    )
    sizes = [None if net is None else size_of(net) for net in built.values()]
    return [
        *(Entry(text, (None if text == MISSING else text,)) for text in texts),
        *(Entry(MISSING if size is None else f"{size:,}", (size,)) for size in sizes),
        Entry(card.paper if card else MISSING, (card.paper if card else None,)),
    ]


def _causal(net: nn.Module) -> bool:
    mixers = [block.token_mixer for block in net.blocks] if isinstance(net, SequenceClassifier) else [net]
    return all(getattr(mixer, "causal", False) for mixer in mixers)
