"""Checks of what a configuration passes to a constructor, against that constructor's own signature."""

import inspect
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from torch import nn

from lra_hgrn.errors import UserError, nearest


def check_kwargs(target: str, cls: type[nn.Module], kwargs: Mapping[str, Any]) -> None:
    """Check keyword arguments against a constructor's signature: names, choices (``Literal``) and plain types.

    A constructor that takes ``**kwargs`` checks them itself.

    Raises:
        UserError: naming the argument and what it may be.
    """
    parameters = list(inspect.signature(cls).parameters.values())
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    options = {p.name: p for p in parameters[1:] if p.kind is not p.VAR_POSITIONAL}  # the first one is not for the user
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


def check_at_least(least: int, **options: int) -> None:
    """Raise a `UserError` that names the first option under ``least``."""
    for name, value in options.items():
        if value < least:
            raise UserError(f"model.kwargs.{name}={value} must be at least {least}.")


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
