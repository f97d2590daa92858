"""The registry of token mixers: names, dotted paths, and the checks on what a configuration asks of them.

A token mixer is an ``nn.Module`` with constructor ``(d_model, **options)`` and ``forward(x)`` or
``forward(x, mask)``: x is (B, L, d), mask is (B, L) bool, True on real positions, or None where nothing is padded
(padding always stands at the end). It returns (B, L, d), or a tuple that begins with it.
"""

import importlib
import inspect
import os
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from torch import nn

from lra_hgrn.errors import UserError, nearest
from lra_hgrn.imports import search_current_folder

_MIXERS: dict[str, type[nn.Module]] = {}

MixerClass = TypeVar("MixerClass", bound=type[nn.Module])


def register_mixer(name: str) -> Callable[[MixerClass], MixerClass]:
    """Register the decorated token mixer under a name; a name that is taken is a ValueError."""

    def register(cls: MixerClass) -> MixerClass:
        if name in _MIXERS:
            raise ValueError(f"The token mixer {name!r} is registered already, by {_MIXERS[name].__qualname__}.")
        _MIXERS[name] = cls
        return cls

    return register


def mixer_names() -> list[str]:
    """Return the names of the registered token mixers."""
    return sorted(_MIXERS)


def resolve_mixer(target: str) -> type[nn.Module]:
    """Return the class of a registered name, or of a dotted path such as ``my_file.MyMixer``.

    The folder that the program runs in is searched after the installed packages.

    Raises:
        UserError: if there is no such name, module or class, or it is not an ``nn.Module``.
    """
    if target in _MIXERS:
        return _MIXERS[target]
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
    except ImportError as error:
        raise UserError(f"model.target={target} cannot be imported from {os.getcwd()}: {error}.") from error


def build_mixer(target: str, d_model: int, kwargs: Mapping[str, Any]) -> nn.Module:
    """Construct a token mixer of width ``d_model``.

    Raises:
        UserError: for an unknown target, or a wrong, missing or ill-typed keyword argument.
    """
    cls = resolve_mixer(target)
    check_kwargs(target, cls, kwargs)
    try:
        return cls(d_model, **kwargs)
    except (TypeError, ValueError) as error:
        raise UserError(f"{target} cannot be made with d_model={d_model} and {dict(kwargs)}: {error}") from error


def check_kwargs(target: str, cls: type[nn.Module], kwargs: Mapping[str, Any]) -> None:
    """Check keyword arguments against a constructor's signature: names, choices (``Literal``) and plain types.

    A constructor that takes ``**kwargs`` checks them itself.

    Raises:
        UserError: naming the argument and what it may be.
    """
    parameters = list(inspect.signature(cls).parameters.values())
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    options = {p.name: p for p in parameters[1:] if p.kind is not p.VAR_POSITIONAL}  # the first one is d_model
    for key in kwargs:
        if key not in options:
            known = ", ".join(options) or "it takes none"
            raise UserError(f"Unknown option model.kwargs.{key} of {target}.{nearest(key, options)} Known: {known}.")
    missing = [name for name, p in options.items() if p.default is p.empty and name not in kwargs]
    if missing:
        raise UserError(f"{target} needs model.kwargs.{missing[0]}: it has no default.")
    hints = _hints(cls)
    for key, value in kwargs.items():
        hint = hints.get(key, Any)
        if not _accepts(hint, value):
            raise UserError(f"model.kwargs.{key}={value} of {target} must be {_describe(hint)}.")


def _hints(cls: type[nn.Module]) -> dict[str, Any]:
    try:
        return get_type_hints(cls.__init__)
    except (NameError, TypeError):  # an annotation that exists for type checkers only: nothing to check against
        return {}


def _accepts(hint: Any, value: Any) -> bool:
    """Whether a value from a configuration fits an annotation; annotations other than plain types fit anything."""
    if get_origin(hint) is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return any(_accepts(member, value) for member in get_args(hint))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint in (bool, int, str, type(None)):
        return type(value) is hint
    return True


def _describe(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_describe(member) for member in get_args(hint))
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a word", type(None): "null"}
    return names[hint]
