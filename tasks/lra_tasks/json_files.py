"""JSON files that may come from anyone."""

import json
import math
from pathlib import Path
from typing import Any

from lra_tasks.errors import one_line, shown

LARGEST = 2**26  # bytes; the largest file of ours, an inspection of Path-X, has some MB
GREATEST = 2**63  # that an integer must stay below, as arrays and tables take it
FARTHEST = 1e39  # that a number must stay below, as every float32 does


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: what is in it is too large, no UTF-8, no JSON or nested too deep, or holds a key twice, an integer
            of more than 64 bits, or a number that no float32 comes near.
    """
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError(f"it has more than {LARGEST:,} bytes")
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_number,
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON, {error}") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"{shown(key)} stands twice in one object")
        values[key] = value
    return values


def _integer(digits: str) -> int:
    if len(digits) > 20 or abs(int(digits)) >= GREATEST:
        raise ValueError(f"{one_line(digits, 40)} is an integer of more than 64 bits")
    return int(digits)


def _number(text: str) -> float:
    value = float(text)
    if math.isnan(value) or abs(value) >= FARTHEST:
        raise ValueError(f"{one_line(text, 40)} is not a JSON number" + (" below 1e39" if text[-1].isdigit() else ""))
    return value
