"""The table of promises in tests/README.md names tests that are there."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
ROW = re.compile(r"^\| ([^|]+) \| `([\w/]+\.py)`: (.+) \|$", re.MULTILINE)


def test_every_promise_is_kept_by_a_test_that_is_there():
    rows = ROW.findall((TESTS / "README.md").read_text())
    assert len(rows) > 50
    for promise, file, names in rows:
        path = TESTS / file
        assert path.is_file(), f"{promise}: there is no {file}"
        tree = ast.parse(path.read_text())
        there = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        wanted = re.findall(r"`(\w+)`", names)
        assert wanted, promise
        assert set(wanted) <= there, f"{promise}: {file} has no {', '.join(sorted(set(wanted) - there))}"
