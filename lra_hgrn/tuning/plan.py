"""What a search does, checked before it begins."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lra_hgrn.cell import WIDTH, compose_cell
from lra_hgrn.config import Config, compose
from lra_hgrn.config.compose import RUNS, identity, parse_overrides, run_name
from lra_hgrn.errors import UserError
from lra_hgrn.tuning.space import Dimension, parse_space

EPOCHS = "train.epochs"


@dataclass(frozen=True)
class Plan:
    """A cell, the options of it that are searched, and what may be spent."""

    model: str  # as on the command line
    task: str
    words: tuple[str, ...]  # options over the recipe, in every trial
    space: list[Dimension]
    trials: int
    epochs: int  # of each trial
    seed: int  # of the proposals
    base: Config  # the cell with none of the searched options changed

    @property
    def name(self) -> str:
        """Hash (12 hex digits) of all that decides which trials there are, but for their number."""
        space = {dimension.key: dimension.spec for dimension in self.space}
        facts = [identity(self.base), self.base.seed, space, self.epochs, self.seed]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def directory(self) -> Path:
        """Where the search goes unless another folder is given."""
        cell = run_name(self.base).rpartition("-seed")[0]
        return RUNS.parent / "tune" / f"{cell}-{self.name}"

    def config(self, words: Sequence[str], epochs: int | None = None) -> Config:
        """Compose the cell with the options of one trial, and with another number of epochs."""
        budget = [] if epochs is None else [f"{EPOCHS}={epochs}"]
        return compose_cell(self.model, self.task, [*self.words, *words, *budget]).config


def make_plan(
    model: str,
    task: str,
    words: Sequence[str] = (),
    *,
    space: Sequence[str],
    trials: int,
    epochs: int | None = None,
    seed: int = 1,
) -> Plan:
    """Plan a search and check every option of it.

    Args:
        model, task, words: the cell, as for `lra train`.
        space: ``KEY=SPEC`` words, see `lra_hgrn.tuning.space.parse_space`.
        trials: number of trials.
        epochs: passes over the training split in one trial; None: those of the cell.
        seed: of the proposals; the trials themselves share the cell's seed.

    Raises:
        UserError: for a wrong option, value, range or budget.
    """
    dimensions = parse_space(space)
    if not dimensions:
        raise UserError(
            "There is nothing to search: give --space KEY=SPEC, for example --space optim.lr=log:1e-4:1e-2."
        )
    for option, number in (("--trials", trials), ("--epochs", epochs), ("--seed", seed + 1)):
        if number is not None and number < 1:
            raise UserError(f"{option} must be {'0' if option == '--seed' else '1'} or more.")
    base = compose_cell(model, task, words).config
    plan = Plan(model, task, tuple(words), dimensions, trials, epochs or base.train.epochs, seed, base)
    for dimension in dimensions:
        if _has(parse_overrides(words), dimension.key):
            raise UserError(f"{dimension.key} is both searched and set: leave one of them out.")
        if dimension.key == WIDTH and base.model.match is not None:
            raise UserError(f"{WIDTH} cannot be searched: model.match={base.model.match} sets it.")
        for value in dimension.values:
            compose(model, task, [*words, dimension.word(value)])
    return plan


def _has(tree: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(tree, dict) or part not in tree:
            return False
        tree = tree[part]
    return True
