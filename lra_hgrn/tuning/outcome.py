"""What a search leaves behind: the study as JSON, a model file with the best options, a table for people."""

import dataclasses
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lra_hgrn.config import Config, plain
from lra_hgrn.config.compose import NOT_IDENTITY, as_words, compose_task
from lra_hgrn.errors import UserError
from lra_hgrn.results.decode import load
from lra_hgrn.results.files import write_whole
from lra_hgrn.results.tables.table import MISSING, Column, Entry, Table, percent
from lra_hgrn.tuning.plan import EPOCHS, Plan
from lra_hgrn.tuning.study import Trial, best_first

STUDY, MODEL = "tuned.json", "tuned.yaml"
SHOWN = 5  # trials in the table


def write_study(plan: Plan, directory: Path, trials: Sequence[Trial]) -> Path:
    """Write ``tuned.json``: the search, its budget, and every trial so far."""
    ranked = best_first(trials)
    content = {
        "search": plan.name,
        "model": plan.model,
        "task": plan.task,
        "options": list(plan.words),
        "space": {dimension.key: dimension.spec for dimension in plan.space},
        "seed": plan.seed,
        "budget": {"trials": plan.trials, "epochs": plan.epochs},
        "best": ranked[0].number if ranked else None,
        "trials": [dataclasses.asdict(trial) for trial in trials],
    }
    return write_whole(directory / STUDY, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def check_same_search(plan: Plan, directory: Path) -> None:
    """Check that a folder holds this search or none.

    Raises:
        UserError: it holds another one, or something else in the place of one.
    """
    path = directory / STUDY
    if not path.is_file():
        return
    try:
        found = load(path)["search"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path} cannot be read as the study of a search; choose another --output.") from None
    if found != plan.name:
        raise UserError(f"{directory} holds another search (cell, space, epochs or seed); choose another --output.")


def write_model(plan: Plan, directory: Path, trials: Sequence[Trial]) -> Path:
    """Write ``tuned.yaml``, a file for `lra train` and `lra sweep` in the place of the model's name.

    It holds every option that decides what is learnt and follows no recipe, so that on the task of the search it
    composes to the cell with the best trial's options, at the cell's own number of epochs.

    Raises:
        UserError: no trial finished.
    """
    ranked = best_first(trials)
    if not ranked:
        last = f": {trials[-1].message}" if trials else ""
        raise UserError(f"No trial of the search in {directory} finished{last}")
    best = ranked[0]
    tree: dict[str, Any] = {}
    for key, value in best.options.items():
        *parents, leaf = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    config = plan.config(as_words(tree))
    options = {"task": _task_options(plan, config), **_learnt(config, ("model", "optim", "train"))}
    options["tuning"] = {"trials": len(trials), "epochs": plan.epochs}
    found = ", ".join(f"{key}={value}" for key, value in best.options.items())
    command = shlex.join(["lra", "train", str(directory / MODEL), plan.task])
    head = (
        f"# Trial {best.number} of {len(trials)}, {EPOCHS}={plan.epochs}: {percent(best.val_accuracy or 0)} % on "
        f"validation, with\n# {found}.\n# {command}\n"
    )
    content = {key: value for key, value in options.items() if value}
    return write_whole(directory / MODEL, head + OmegaConf.to_yaml(OmegaConf.create(content)))


def _learnt(config: Config, sections: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the options that decide what is learnt; where and how a run is computed is its own affair."""
    values = plain(config)
    return {
        section: {key: value for key, value in values[section].items() if f"{section}.{key}" not in NOT_IDENTITY}
        for section in sections
    }


def _task_options(plan: Plan, config: Config) -> dict[str, Any]:
    """Return the task's options where they are not those of its file: its name is given beside the model."""
    usual = _learnt(compose_task(plan.task), ["task"])["task"]
    return {key: value for key, value in _learnt(config, ["task"])["task"].items() if value != usual[key]}


def best_table(plan: Plan, trials: Sequence[Trial]) -> Table:
    """Return a table of the best trials with the options that tell them apart."""
    keys = [dimension.key for dimension in plan.space]
    heads = {"Trial": "trial", "Validation accuracy %": "val_accuracy", "At step": "step", **{key: key for key in keys}}
    table = Table("", [Column(head, (field,)) for head, field in heads.items()])
    for trial in best_first(trials)[:SHOWN]:
        accuracy = trial.val_accuracy or 0.0
        row = [_value(trial.number), Entry(percent(accuracy), (accuracy,)), _value(trial.step)]
        table.rows.append([*row, *(_value(trial.options[key]) for key in keys)])
    failed = sum(trial.state == "failed" for trial in trials)
    table.remarks.append(
        f"{plan.base.model.name} on {plan.base.task.name} ({plan.base.task.scale}): {len(trials)} trials with "
        f"{EPOCHS}={plan.epochs}, {failed} of them failed. The test split was not read."
    )
    return table


def _value(value: Any) -> Entry:
    if value is None:
        return Entry(MISSING, (None,))
    if isinstance(value, float):
        return Entry(f"{value:.4g}", (value,))
    return Entry(str(value), (value if isinstance(value, int | str) else str(value),))
