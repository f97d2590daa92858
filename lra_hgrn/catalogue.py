"""The models that can be compared: what each is, and its size on each task."""

from collections.abc import Sequence

import torch
from torch import nn

from lra_hgrn.cell import compose_cell
from lra_hgrn.config import Config
from lra_hgrn.config.compose import find, has_recipe, names
from lra_hgrn.errors import UserError
from lra_hgrn.models import SequenceClassifier, build_classifier
from lra_hgrn.models.match import task_spec
from lra_hgrn.models.registry import mixer_card
from lra_hgrn.results.table import MISSING, Column, Entry, Table
from lra_tasks import task_names

_FAMILIES = ["HGRN", "Transformer", "state space", "recurrent", "convolution"]


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
    tasks = names("tasks")
    table = Table("", [*_columns(), *(Column(task, (f"parameters_{task}",)) for task in _ordered(tasks)), _paper()])
    for model in models or names("models"):
        find("models", model)
        table.rows.append(_row(model, _ordered(tasks), match))
    table.rows.sort(key=lambda row: _rank(str(row[0].values[0])))
    sizes = f"at the width that matches {match}" if match else "of each task's recipe"
    table.remarks.append(
        f"Number of parameters {sizes}, at full scale; {MISSING}: there is no recipe, the model does not fit "
        "the task, or no width comes within 5 %. Memory: what training keeps. L: length."
    )
    return table


def _columns() -> list[Column]:
    texts = ("Family", "Model", "Name", "Token mixer", "Causal", "Compute", "Memory")
    return [Column(text, (text.lower().replace(" ", "_"),), numeric=False) for text in texts]


def _paper() -> Column:
    return Column("Paper", ("paper",), numeric=False)


def _ordered(tasks: Sequence[str]) -> list[str]:
    return sorted(tasks, key=lambda task: task_names().index(task) if task in task_names() else len(tasks))


def _rank(family: str) -> int:
    return _FAMILIES.index(family) if family in _FAMILIES else len(_FAMILIES)


def _row(model: str, tasks: Sequence[str], match: str | None) -> list[Entry]:
    words = [f"model.match={match}"] if match else []
    built: dict[str, nn.Module | None] = dict.fromkeys(tasks)
    refused = []
    for task in tasks:
        if has_recipe(model, task):
            try:
                built[task] = _build(model, task, words)
            except UserError as error:
                refused.append(error)
    if refused and match is None and not any(built.values()):
        raise refused[0]
    config = compose_cell(model, tasks[0]).config.model
    card = mixer_card(config.target)
    causal = {_causal(net) for net in built.values() if net is not None}
    texts = (
        card.family if card else "of your own",
        model,
        config.name,
        config.target,
        {(True,): "yes", (False,): "no", (): MISSING}.get(tuple(causal), "by task"),
        card.compute if card else MISSING,
        card.memory if card else MISSING,
    )
    sizes = [None if net is None else sum(p.numel() for p in net.parameters()) for net in built.values()]
    return [
        *(Entry(text, (None if text == MISSING else text,)) for text in texts),
        *(Entry(MISSING if size is None else f"{size:,}", (size,)) for size in sizes),
        Entry(card.paper if card else MISSING, (card.paper if card else None,)),
    ]


def _build(model: str, task: str, words: Sequence[str]) -> nn.Module:
    """Return the classifier of a cell, without memory for its weights."""
    config: Config = compose_cell(model, task, words).config
    with torch.device("meta"):
        return build_classifier(task_spec(config), config.model)


def _causal(net: nn.Module) -> bool:
    mixers = [block.token_mixer for block in net.blocks] if isinstance(net, SequenceClassifier) else [net]
    return all(getattr(mixer, "causal", False) for mixer in mixers)
