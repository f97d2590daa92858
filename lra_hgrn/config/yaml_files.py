"""Read YAML files that may come from anyone: a suite, a model, a task, the options of somebody's run.

What a file can do is limited before anything is built of it: libyaml builds nested lists by recursion and ends the
process where they are deep, and a few aliases unfold without end. What it may say is in `check_values`.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import yaml  # type: ignore[import-untyped]
from omegaconf import OmegaConf

from lra_hgrn.errors import UserError
from lra_tasks.errors import is_clean, one_line, shown

LARGEST = 2**18  # bytes; the largest of configs/ has 2 kB
DEEPEST = 32  # levels of nesting
LONGEST = 1_000  # characters of one value
GREATEST = 2**63  # that a whole number must stay below: what prints, and fits into a record
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path, origin: str) -> dict[str, Any]:
    """Read a YAML file that holds a mapping of options.

    Args:
        path: of the file.
        origin: what messages call it.

    Raises:
        UserError: the file cannot be read, is larger or nested deeper than options are, holds a tag that builds an
            object, aliases that unfold without end, an interpolation, a control character or a number that no option
            takes, or is no mapping.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise ValueError(f"it has more than the {LARGEST:,} bytes that options may have")
        text = data.decode("utf-8")
        _check_events(text)
        values = OmegaConf.to_container(OmegaConf.create(text))
        if isinstance(values, dict) and all(isinstance(key, str) for key in values):
            check_values(values)
            return cast(dict[str, Any], values)
    except UnicodeDecodeError:
        raise UserError(f"{origin} is not a text file in UTF-8.") from None
    except Exception as error:  # omegaconf and yaml share no base class
        reason = one_line(error).replace(' in "<unicode string>",', ",")
        raise UserError(f"{origin} cannot be read as YAML: {reason}") from None
    raise UserError(f"{origin} must hold a mapping of options.")


def _check_events(text: str) -> None:
    """Refuse what is nested too deep or too long, before anything is built of it."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise ValueError(f"it is nested deeper than {DEEPEST} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.ScalarEvent) and len(event.value) > LONGEST:
            raise ValueError(f"it holds a value of more than {LONGEST:,} characters")


def check_values(values: Any) -> None:
    """Refuse what no option holds: interpolations, control characters, numbers that are not finite or too great.

    OmegaConf would resolve an interpolation: ``${oc.env:NAME}`` in a file of somebody else's copies a variable of
    whoever reads it into results.

    Raises:
        ValueError: one of them is in ``values``, which may be nested.
    """
    for value in _scalars(values):
        if isinstance(value, str) and "${" in value:
            raise ValueError(f"{shown(value)} is an interpolation, write the value itself")
        if isinstance(value, str) and not is_clean(value):
            raise ValueError(f"{shown(value)} holds a control character")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("it holds a number that is not finite")
        if isinstance(value, int) and abs(value) >= GREATEST:
            raise ValueError("it holds an integer of more than 64 bits")


def _scalars(values: Any) -> Iterator[Any]:
    if isinstance(values, dict):
        for key, value in values.items():
            if not (isinstance(key, str) and key.isprintable()):
                raise ValueError(f"{shown(key)} is no name of an option")
            yield key
            yield from _scalars(value)
    elif isinstance(values, list):
        for value in values:
            yield from _scalars(value)
    else:
        yield values
