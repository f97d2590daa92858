"""How the findings of a contract are printed."""

from collections.abc import Sequence
from typing import Any

_MARKS = {True: "ok", False: "FAILED", None: "–"}


def show(finding: Any) -> None:
    """Print one `lra_tasks.findings.Finding`."""
    print(f"{_MARKS[finding.ok]:6}  {finding.check}: {finding.message}", flush=True)


def conclude(name: str, found: Sequence[Any]) -> int:
    """Print the last line and return the exit code: 1 if a check failed."""
    failed = sum(finding.ok is False for finding in found)
    print(f"{name} {f'fails {failed} of {len(found)} checks' if failed else 'keeps the contract'}")
    return 1 if failed else 0
