"""The registry of token mixers: names, dotted paths, and the checks on what a configuration asks of them.

A token mixer is an ``nn.Module`` with constructor ``(d_model, **options)`` and ``forward(x)`` or
``forward(x, mask)``: x is (B, L, d), mask is (B, L) bool, True on real positions, or None where nothing is padded
(padding always stands at the end). It returns (B, L, d), or a tuple that begins with it.

A constructor with an argument ``max_length`` (positions of the longest input) or ``side`` (of the image that the
positions are, row by row; 0: no image) is given what the task says. What a mixer may say of itself, all of it optional,
as attributes:

- ``causal``: True if no position depends on later ones.
- ``departures``: sentences that take a run with it out of the strict track.
- ``recurrence_parameters``: names of parameters with a learning rate of their own and no weight decay.
- ``uses_lower_bound``: True if ``forward`` takes ``lower_bound``, γ of its layer, (d,) or None.
- ``forget_gates(x, mask=None, lower_bound=None)``: what is kept of the state at each step, (B, L, d) in [0, 1], for
  ``lra inspect``.
- ``step(x, state)``, with ``lower_bound`` where that is used: one position (B, d) and the state so far, None at first;
  returns (B, d) and the new state. A causal mixer that has it can be streamed (`lra_hgrn.models.stream`).
- ``exempt``: checks of `lra_hgrn.contract` that it cannot pass, each with the reason.
"""

import importlib
import inspect
import os
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from torch import nn

from lra_hgrn.errors import UserError, nearest
from lra_hgrn.imports import search_current_folder
from lra_hgrn.models.arguments import check_kwargs

Family = Literal["HGRN", "Transformer", "state space", "recurrent", "convolution"]


@dataclass(frozen=True)
class MixerCard:
    """What tables of models say of a token mixer."""

    family: Family
    paper: str  # authors, venue and year, arXiv number
    compute: str  # growth of one forward pass with the length L
    memory: str  # growth of what training keeps with the length L


@dataclass(frozen=True)
class _Registered:
    cls: type[nn.Module]
    card: MixerCard


_MIXERS: dict[str, _Registered] = {}

MixerClass = TypeVar("MixerClass", bound=type[nn.Module])


def register_mixer(
    name: str, *, family: Family, paper: str, compute: str = "L", memory: str = "L"
) -> Callable[[MixerClass], MixerClass]:
    """Register the decorated token mixer under a name, with its card; a name that is taken is a ValueError."""

    def register(cls: MixerClass) -> MixerClass:
        if name in _MIXERS:
            raise ValueError(f"The token mixer {name!r} is registered already, by {_MIXERS[name].cls.__qualname__}.")
        _MIXERS[name] = _Registered(cls, MixerCard(family, paper, compute, memory))
        return cls

    return register


def mixer_names() -> list[str]:
    """Return the names of the registered token mixers."""
    return sorted(_MIXERS)


def mixer_card(target: str) -> MixerCard | None:
    """Return the card of a registered token mixer; None for a dotted path."""
    return _MIXERS[target].card if target in _MIXERS else None


def resolve_mixer(target: str) -> type[nn.Module]:
    """Return the class of a registered name, or of a dotted path such as ``my_file.MyMixer``.

    The folder that the program runs in is searched after the installed packages.

    Raises:
        UserError: if there is no such name, module or class, or it is not an ``nn.Module``.
    """
    if target in _MIXERS:
        return _MIXERS[target].cls
    module_name, _, name = target.rpartition(".")
    if not module_name or not all(part.isidentifier() for part in target.split(".")):
        known = ", ".join(mixer_names())
        raise UserError(
            f"Unknown token mixer {target!r}.{nearest(target, mixer_names())} "
            f"Known: {known}, or the dotted path of an nn.Module class."
        )
    module = _import(module_name, target)
    found = getattr(module, name, None)
    if found is None:
        raise UserError(f"{module_name!r} has no {name!r} (model.target={target}).{nearest(name, dir(module))}")
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        raise UserError(f"model.target={target} is not a class of nn.Module.")
    return found


def _import(module_name: str, target: str) -> types.ModuleType:
    search_current_folder()
    try:
        return importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module does when it is imported
        raise UserError(f"model.target={target} cannot be imported from {os.getcwd()}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return the words of an exception, and its kind where they alone would not say what is wrong."""
    words = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, ImportError | TypeError | ValueError) and words:
        return f"{words}."
    return f"{type(error).__name__}{f': {words}' if words else ''}."


def is_classifier(cls: type[nn.Module]) -> bool:
    """Whether a class is a whole classifier: its constructor begins with ``spec``, a `lra_tasks.TaskSpec`."""
    return next(iter(inspect.signature(cls).parameters), None) == "spec"


def build_mixer(target: str, d_model: int, kwargs: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> Any:
    """Construct a token mixer of width ``d_model``; of ``facts`` it gets those that its constructor names.

    Raises:
        UserError: for an unknown target, or a wrong, missing or ill-typed keyword argument.
    """
    cls = resolve_mixer(target)
    offered = {key: value for key, value in (facts or {}).items() if key in inspect.signature(cls).parameters}
    return construct(target, cls, d_model, {**offered, **kwargs}, f"d_model={d_model} and ")


def construct(target: str, cls: type[nn.Module], first: Any, kwargs: Mapping[str, Any], said: str) -> Any:
    """Construct ``cls(first, **kwargs)``, with the first argument by its name if the constructor insists.

    Raises:
        UserError: what the constructor says of its arguments.
    """
    check_kwargs(target, cls, kwargs)
    named = next(iter(inspect.signature(cls).parameters.values()), None)
    try:
        if named is not None and named.kind is named.KEYWORD_ONLY:
            return cls(**{named.name: first}, **kwargs)
        return cls(first, **kwargs)
    except UserError:
        raise
    except Exception as error:  # whatever a user's constructor raises
        raise UserError(f"{target} cannot be made with {said}{dict(kwargs)}: {_reason(error)}") from error
