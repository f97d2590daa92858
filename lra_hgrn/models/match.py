"""Equal budgets: count parameters, and find the width that has as many of them as another model."""

import dataclasses
import json
from dataclasses import replace
from functools import cache

import torch
from torch import nn

from lra_hgrn.config import Config, ModelConfig
from lra_hgrn.errors import UserError
from lra_hgrn.imports import search_current_folder
from lra_hgrn.models.classifier import build_classifier
from lra_tasks import TaskSpec, get_task

TOLERANCE = 0.05
WIDEST = 8192
_STEPS = 64  # widths tried one by one where some cannot be built (heads must divide them)


def task_spec(config: Config) -> TaskSpec:
    """Return the shape of a configuration's task, which needs no data."""
    search_current_folder()
    task = config.task
    return get_task(task.name)(scale=task.scale, protocol=task.protocol, source=task.source).spec


def build_without_weights(spec: TaskSpec, config: ModelConfig) -> nn.Module:
    """Build a classifier whose parameters have shapes and no values: it takes no memory.

    Raises:
        UserError: the classifier cannot be built.
    """
    with torch.device("meta"):
        return build_classifier(spec, config)


def size_of(net: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in net.parameters())


def count_parameters(spec: TaskSpec, config: ModelConfig) -> int:
    """Return the number of parameters of a classifier; as `build_without_weights`."""
    return size_of(build_without_weights(spec, config))


def fit_width(config: Config, reference: Config) -> int:
    """Return the ``d_model`` whose parameter count is nearest to that of ``reference``.

    Raises:
        UserError: no width comes within 5 %, or none can be built.
    """
    spec = task_spec(config)
    aim = count_parameters(spec, reference.model)
    # The cells of a suite are composed more than once, with the same answer.
    key = json.dumps([dataclasses.asdict(part) for part in (spec, replace(config.model, d_model=1), reference.model)])
    if key not in _fitted:
        _fitted[key] = _fit(spec, config.model, reference.model, aim)
    return _fitted[key]


_fitted: dict[str, int] = {}


def _fit(spec: TaskSpec, config: ModelConfig, reference: ModelConfig, aim: int) -> int:
    @cache
    def count(width: int) -> int | None:
        try:
            return count_parameters(spec, replace(config, d_model=width, match=None))
        except UserError:
            return None

    def built(widths: range) -> int | None:
        return next((width for width in widths if count(width) is not None), None)

    def reaches(width: int) -> bool:
        found = built(range(width, width + _STEPS))
        return found is None or (count(found) or 0) >= aim

    # Counts grow with the width: bracket the first one that reaches the aim, then halve.
    low, high = 1, reference.d_model
    while high < WIDEST and not reaches(high):
        low, high = high + 1, 2 * high
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle + 1, high)
    beside = (built(range(low, low + _STEPS)), built(range(low - 1, max(0, low - _STEPS), -1)))
    counts = {width: found for width in beside if width is not None and (found := count(width)) is not None}
    if not counts:
        count_parameters(spec, replace(config, match=None))  # says why
        raise UserError(f"{config.name} cannot be built at the width that has {aim:,} parameters.")
    best = min(counts, key=lambda width: abs(counts[width] - aim))
    if abs(counts[best] - aim) > TOLERANCE * aim:
        raise UserError(
            f"No width brings {config.name} on {spec.name} within 5 % of the {aim:,} parameters of {reference.name}: "
            f"the nearest is model.d_model={best} with {counts[best]:,}."
        )
    return best
