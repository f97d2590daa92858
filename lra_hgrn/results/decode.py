"""JSON that may come from anyone: read it, and decode it into dataclasses, whose type hints are the schema."""

import dataclasses
import types
import typing
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from lra_tasks.errors import cleaned, one_line, shown
from lra_tasks.json_files import read_json

T = TypeVar("T")

_NAMES = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}


def load(path: Path) -> Any:
    """Read a JSON file as `read_json`; in strings, which reach terminals, a control character comes out as “�”.

    Raises:
        OSError, ValueError: as `read_json`.
    """
    return _clean(read_json(path))


def _clean(data: Any) -> Any:
    if isinstance(data, str):
        return cleaned(data)
    if isinstance(data, list):
        return [_clean(item) for item in data]
    if isinstance(data, dict):
        return {cleaned(key): _clean(value) for key, value in data.items()}
    return data


def decode(cls: type[T], data: Any) -> T:
    """Return ``data`` (of ``json.loads``) as an instance of the dataclass ``cls``.

    Hints may be int, float, str, bool, Any, Literal of strings, list, dict with string keys, dataclasses, and any
    of these or None.

    Raises:
        ValueError: naming the field and what is wrong with it.
    """
    return _dataclass(cls, data, "")


def _dataclass(cls: Any, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise ValueError(f"{where} is {shown(data)}, not an object")
    hints = _hints(cls)
    prefix = f"{where}." if where else ""
    for name in hints:
        if name not in data:
            raise ValueError(f"{prefix}{name} is missing")
    for name in data:
        if name not in hints:
            raise ValueError(f"{one_line(prefix + name, 100)} is not a field of this schema")
    values = {name: _value(hint, data[name], prefix + name) for name, hint in hints.items()}
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}" if where else str(error)) from None


@cache
def _hints(cls: Any) -> dict[str, Any]:
    """Return the type of each field. Python evaluates hints anew at every call: most of the time of a record."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _value(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return _dataclass(hint, value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return None if value is None else _value(inner, value, where)
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"{where} is {shown(value)}, not one of {', '.join(map(repr, arguments))}")
        return value
    if origin is list:
        if not isinstance(value, list):
            raise ValueError(f"{where} is {shown(value)}, not a list")
        return [_value(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value)]
    if origin is dict:
        if not isinstance(value, dict):
            raise ValueError(f"{where} is {shown(value)}, not an object")
        return {key: _value(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if hint is float and type(value) is int:  # JSON writers may drop ".0"
        return float(value)
    if type(value) is not hint:
        raise ValueError(f"{where} is {shown(value)}, not {_NAMES[hint]}")
    return value
