"""What the gate found: a table for a terminal or a pull request, JSON, and JUnit's XML."""

import dataclasses
import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from lra_hgrn.errors import UserError
from lra_hgrn.gate.gate import Outcome
from lra_hgrn.gate.judge import OVERALL, Finding, Kind
from lra_hgrn.results.files import write_whole
from lra_hgrn.results.tables.render import to_markdown
from lra_hgrn.results.tables.table import MISSING, Column, Entry, Table, binary, count, percent, points

FILES = ("check.json", "junit.xml", "summary.md")


def check_table(outcome: Outcome) -> Table:
    """Make one row for each cell, and one for each model over all tasks where speed was measured beside a commit."""
    columns = [
        Column("Task", ("task",), numeric=False),
        Column("Model", ("model",), numeric=False),
        Column("Accuracy, %", ("accuracy",)),
        Column("Change", ("difference",)),
        Column("p", ("p",)),
        Column("Losses off", ("off",)),
        Column("Step time, ×", ("ratio", "low", "high")),
        Column("Memory", ("bytes",)),
        Column("Verdict", ("verdict",), numeric=False),
    ]
    table = Table(f"Check of {outcome.suite} against its baseline; speed against {outcome.against}", columns)
    cells: dict[tuple[str, str, str], list[Finding]] = {}
    for one in outcome.findings:
        cells.setdefault((one.task, one.scale, one.model), []).append(one)
    for (task, scale, model), found in cells.items():
        row = [Entry(f"{task} ({scale})" if scale else task, (task,)), Entry(model, (model,))]
        table.rows.append([*row, *_figures(found), _verdict(found)])
    table.remarks = [f"Regression: {_sentence(one)}." for one in outcome.regressions]
    table.remarks += [f"Not judged: {_sentence(one)}." for one in outcome.findings if one.verdict == "not judged"]
    return table


def write(outcome: Outcome, folder: Path) -> None:
    """Write ``check.json``, ``junit.xml`` and ``summary.md``, each whole or not at all.

    Raises:
        UserError: the folder cannot be written.
    """
    contents = (_json(outcome), _junit(outcome), summary(outcome))
    try:
        for name, content in zip(FILES, contents, strict=True):
            write_whole(folder / name, content)
    except OSError as error:
        raise UserError(f"Cannot write to {folder}: {error.strerror}; choose another --output.") from None


def summary(outcome: Outcome) -> str:
    """Put the outcome in Markdown, for a pull request."""
    worse = len(outcome.regressions)
    head = f"### `lra check`: {count(worse, 'regression') if worse else 'nothing is worse'}\n\n"
    return head + to_markdown(check_table(outcome))


def _figures(found: Sequence[Finding]) -> list[Entry]:
    def values(kind: Kind) -> list[dict]:
        return [one.values for one in found if one.kind == kind and one.values]

    entries = [Entry(MISSING, (None,))] * 3
    for one in values("accuracy"):
        entries = [
            Entry(percent(one["now"]), (one["now"],)),
            Entry(points(one["difference"]), (one["difference"],)),
            Entry(f"{one['p']:.2g}", (one["p"],)),
        ]
    off = [one["off"] for one in values("first losses") if "off" in one]
    entries.append(Entry(f"{max(off):.1e}", (max(off),)) if off else Entry(MISSING, (None,)))
    times = [Entry(MISSING, (None, None, None))]
    for one in values("speed"):
        text = f"{one['ratio']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"
        times = [Entry(text, (one["ratio"], one["low"], one["high"]))]
    memory = [Entry(binary(one["now"]), (one["now"],)) for one in values("memory")] or [Entry(MISSING, (None,))]
    return [*entries, *times, *memory]


def _verdict(found: Sequence[Finding]) -> Entry:
    worse = list(dict.fromkeys(one.kind for one in found if one.verdict == "regression"))
    words = f"worse: {', '.join(worse)}" if worse else "passed"
    return Entry(words, (words,))


def _sentence(one: Finding) -> str:
    place = f"{one.model} on {one.task}" if one.task != OVERALL else f"{one.model} over {OVERALL}"
    return f"{place}: {one.text}"


def _json(outcome: Outcome) -> str:
    content = {
        "suite": outcome.suite,
        "against": outcome.against,
        "regressions": len(outcome.regressions),
        "findings": [dataclasses.asdict(one) for one in outcome.findings],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _junit(outcome: Outcome) -> str:
    skipped = [one for one in outcome.findings if one.verdict == "not judged"]
    counts = {"tests": len(outcome.findings), "failures": len(outcome.regressions), "skipped": len(skipped)}
    attributes = {"name": f"lra check {outcome.suite}", **{key: str(value) for key, value in counts.items()}}
    root = ET.Element("testsuites")
    suite = ET.SubElement(root, "testsuite", attributes)
    for one in outcome.findings:
        name = f"{one.kind} {one.values['backend']}" if "backend" in one.values else one.kind
        case = ET.SubElement(suite, "testcase", {"classname": f"{one.task}.{one.model}", "name": name})
        if one.verdict == "passed":
            ET.SubElement(case, "system-out").text = one.text
        else:
            tag = "failure" if one.verdict == "regression" else "skipped"
            ET.SubElement(case, tag, {"message": _sentence(one)})
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
