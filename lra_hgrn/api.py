"""The suite from Python: what `lra train` does, for scripts and notebooks."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from lra_hgrn.cell import compose_cell
from lra_hgrn.config.compose import RUNS, as_words, run_name
from lra_hgrn.errors import UserError
from lra_hgrn.imports import name_of
from lra_hgrn.results.record import Record
from lra_hgrn.training.run import train as train_cell
from lra_tasks import LRATask


def train(
    model: str | type[nn.Module],
    task: str | type[LRATask],
    *,
    output: str | Path | None = None,
    resume: bool = False,
    **overrides: Any,
) -> Record:
    """Train one cell, test it, and write its folder, as ``lra train MODEL TASK [key=value ...]`` does.

        lra_hgrn.train("hgrn", "listops", task__scale="tiny", optim__lr=1e-3, seed=2)
        lra_hgrn.train(MyMixer, "text", model__name="Mine", model__kwargs={"heads": 8}, train={"epochs": 5})

    Args:
        model: a name in ``configs/models``, a .yaml file, a dotted path, or a class: a token mixer, or a whole
            classifier (see `lra_hgrn.models.registry`). A class or dotted path is trained by HGRN's recipe.
        task: a name in ``configs/tasks``, a .yaml file, a folder of arrays, a dotted path, or a class.
        output: folder of the run; None: a name made from the cell, under ``results/runs``.
        resume: go on with an interrupted run; a finished one returns its record.
        overrides: options, their dots written as ``__``; a value may be a mapping of options.

    Returns:
        The record, as it stands in ``record.json``.

    Raises:
        UserError, lra_tasks.TaskError: what the command line would print before it exits with code 2.
        Stopped: SIGINT or SIGTERM came before the first step; after it, the record says that the run was stopped.
    """
    words = as_words(_nested(overrides))
    config = compose_cell(_dotted(model, nn.Module), _dotted(task, LRATask), words).config
    directory = Path(output) if output is not None else RUNS / run_name(config)
    return train_cell(config, directory, resume=resume)


def _dotted(named: Any, kind: type) -> str:
    if isinstance(named, str | Path):
        return str(named)
    if not (inspect.isclass(named) and issubclass(named, kind)):
        raise UserError(f"Give a name or a class of {kind.__name__}, not {named!r}.")
    return name_of(named)


def _nested(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Turn ``optim__lr`` into ``{"optim": {"lr": ...}}``."""
    tree: dict[str, Any] = {}
    for key, value in overrides.items():
        *parents, leaf = key.split("__")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise UserError(f"Override {key!r} contradicts another one.")
        if isinstance(value, Mapping) and isinstance(node.get(leaf), dict):
            node[leaf].update(value)
        else:
            node[leaf] = dict(value) if isinstance(value, Mapping) else value
    return tree
