"""A suite's results as one HTML page that needs nothing else: no network, no scripts."""

import base64
import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from lra_hgrn.errors import UserError
from lra_hgrn.inspection.record import FOLDER, Inspection, Picture, growth, load_inspection
from lra_hgrn.results import figures
from lra_hgrn.results.cells import Cell, collect
from lra_hgrn.results.files import write_whole
from lra_hgrn.results.record import Record, Score
from lra_hgrn.results.render import to_html
from lra_hgrn.results.table import MISSING, describe, make_table, percent, sentences

_STYLE = Path(__file__).with_name("report.css")


def write_report(
    records: Iterable[Record],
    title: str,
    path: Path,
    *,
    cells: Sequence[tuple[str, str]],
    baseline: str | None = None,
    runs: Path | None = None,
    commands: Sequence[str] = (),
    problems: Sequence[str] = (),
) -> Path:
    """Write the page of a suite, whole or not at all; return its path.

    Args:
        records: of the suite's runs.
        title: heading of the page.
        path: the page, made or replaced.
        cells: the suite's (task, model) pairs in order.
        baseline: model whose speed the others' are compared with.
        runs: folder of the runs' folders, for the learning curves and inspections; None leaves these out.
        commands: command lines that repeat the suite.
        problems: sentences on records that could not be read, shown among the notices.

    Raises:
        UserError: runs of one cell cannot be averaged.
    """
    records = list(records)
    suite, _ = collect(cells, records)
    shown = [record for cell in suite for record in cell.records]
    curves, troubles = _curves(suite, runs)
    learnt, strange = _learnt(shown, runs)
    table = make_table(cells, records, baseline=baseline, caption="Test accuracy, speed and size of each model")
    body = [
        f"<header><h1>{_text(title)}</h1>{_summary(suite, shown)}</header>",
        _notices([*problems, *_shortcomings(suite), *troubles, *strange]),
        f'<section class="results"><h2>Results</h2>{to_html(table)}</section>',
        _figures(suite, curves),
        learnt,
        _runs(shown),
        _environment(shown),
        _reproduction(suite, commands),
    ]
    return write_whole(path, _page(title, "\n".join(filter(None, body))))


def _page(title: str, body: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _text(value: object) -> str:
    return html.escape(str(value))


def _summary(suite: Sequence[Cell], records: Sequence[Record]) -> str:
    done = sum(1 for cell in suite if cell.summary is not None)
    parts = [f"{_count(len(records), 'run')}, {done} of {_count(len(suite), 'cell')} with results"]
    if records:
        days = sorted(record.started[:10] for record in records)
        parts.append(days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}")
        parts.append(f"lra-hgrn {', '.join(_distinct(r.versions.get('lra-hgrn', 'unknown') for r in records))}")
    return f'<p class="summary">{_text(" · ".join(parts))}</p>'


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _shortcomings(suite: Sequence[Cell]) -> list[str]:
    """Say everything that keeps the numbers from being read as a full, strict, complete table."""
    records = [record for cell in suite for record in cell.records]
    found = [f"{cell.task} × {cell.model}: no run yet." for cell in suite if not cell.records]
    found += [
        f"{record.task} × {record.model}, seed {record.seed}: {record.status}. {record.message}".strip()
        for record in records
        if record.status != "finished"
    ]
    small = _distinct(f"{record.task} ({record.scale})" for record in records if record.scale != "full")
    if small:
        found.append(f"Below the published size and not comparable with published figures: {', '.join(small)}.")
    found += [
        f"{cell.task} × {cell.model} is on the open track: {sentences(departures)}"
        for cell in suite
        if any(record.track == "open" for record in cell.records)
        and (departures := _distinct(departure for record in cell.records for departure in record.departures))
    ]
    commits = _distinct(record.git_commit for record in records if record.git_commit is not None)
    if any(commit.endswith("+dirty") for commit in commits):
        found.append("Some runs used a checkout with uncommitted changes (+dirty).")
    if len(commits) > 1:
        found.append(f"The runs come from {len(commits)} different states of the code.")
    return found


def _notices(sentences: Sequence[str]) -> str:
    if not sentences:
        return ""
    items = "".join(f"<li>{_text(sentence)}</li>" for sentence in sentences)
    return f'<section class="notices"><h2>To know before reading</h2><ul>{items}</ul></section>'


def _curves(suite: Sequence[Cell], runs: Path | None) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Read the metrics of every run; return them by name of run, and what could not be read."""
    found: dict[str, pd.DataFrame] = {}
    troubles = []
    for record in (record for cell in suite for record in cell.records if runs is not None):
        try:
            found[record.run] = figures.load_metrics(Path(runs or "") / record.run / figures.METRICS)
        except UserError as error:
            troubles.append(str(error))
    return found, troubles


def _figures(suite: Sequence[Cell], curves: dict[str, pd.DataFrame]) -> str:
    drawn = []
    scatter = figures.accuracy_against_throughput(suite)
    if scatter is not None:
        caption = "Test accuracy (95 % interval) against training speed. A grey line joins the models of a task."
        drawn.append(_figure(figures.to_svg(scatter, "speed"), caption))
    tasks, models = _distinct(cell.task for cell in suite), _distinct(cell.model for cell in suite)
    for number, task in enumerate(tasks):
        cells = [cell for cell in suite if cell.task == task]
        if any(record.run in curves for cell in cells for record in cell.records):
            svg = figures.to_svg(figures.learning_curves(cells, curves, models), f"curves{number}")
            drawn.append(_figure(svg, f"Learning curves on {task}. Each seed is a line of its model’s look."))
    profiles = figures.lower_bound_profiles(suite)
    if profiles is not None:
        caption = (
            "Learnt lower bounds of the forget gate by layer: mean over channels, with bands from 25 % to 75 % and "
            "from 5 % to 95 % of the channels. A higher bound means a longer memory."
        )
        drawn.append(_figure(figures.to_svg(profiles, "bounds"), caption))
    return f"<section><h2>Figures</h2>{''.join(drawn)}</section>" if drawn else ""


def _figure(svg: str, caption: str) -> str:
    label = html.escape(caption, quote=True)
    return (
        f'<figure class="plot"><div class="scroll" role="img" aria-label="{label}">{svg}</div>'
        f"<figcaption>{_text(caption)}</figcaption></figure>"
    )


def _learnt(records: Sequence[Record], runs: Path | None) -> tuple[str, list[str]]:
    """Render what `lra inspect` wrote of these runs, nothing if it was none; return it and what could not be read."""
    articles, troubles = [], []
    for record in (record for record in records if runs is not None):
        folder = Path(runs or "") / record.run
        try:
            inspection = load_inspection(folder)
            if inspection is not None:
                articles.append(_inspected(record, inspection, folder / FOLDER))
                troubles += _outdated(record, inspection)
        except UserError as error:
            troubles.append(str(error))
    if not articles:
        return "", troubles
    said = (
        "What the inspected models remember, layer by layer, and which parts of an input their decisions depend on "
        "(“lra inspect”)."
    )
    return f"<section><h2>What the models learnt</h2><p>{said}</p>{''.join(articles)}</section>", troubles


def _inspected(record: Record, inspection: Inspection, folder: Path) -> str:
    """Render one inspected run: the gates openly, the samples behind a line to click on."""
    gates = [_picture(folder, picture) for picture in inspection.pictures if picture.file == "gates.png"]
    samples = [_picture(folder, picture) for picture in inspection.pictures if picture.file != "gates.png"]
    head = f"{record.task} × {record.model}, seed {record.seed}, {inspection.checkpoint} checkpoint"
    words = " ".join(filter(None, [f"{head}.", growth(inspection), *inspection.remarks]))
    summary = f"<summary>{_text(head)}: {_count(len(samples), 'decision')}</summary>"
    closed = f"<details>{summary}{''.join(samples)}</details>" if samples else ""
    return f"<p>{_text(words)}</p>{''.join(gates)}{closed}"


def _picture(folder: Path, picture: Picture) -> str:
    try:
        data = base64.b64encode((folder / picture.file).read_bytes()).decode("ascii")
    except OSError as error:
        raise UserError(f"{folder / picture.file} cannot be read ({error.strerror}): inspect the run again.") from None
    return (
        f'<figure class="plot"><div class="scroll"><img src="data:image/png;base64,{data}" style="width: 100%" '
        f'alt="{html.escape(picture.caption, quote=True)}"></div>'
        f"<figcaption>{_text(picture.caption)}</figcaption></figure>"
    )


def _outdated(record: Record, inspection: Inspection) -> list[str]:
    step = getattr(record.scores, inspection.checkpoint).step if record.scores else inspection.step
    if step == inspection.step:
        return []
    return [
        f"{record.task} × {record.model}, seed {record.seed}: inspected at step {inspection.step}, but its "
        f"{inspection.checkpoint} checkpoint is now of step {step}; inspect it again."
    ]


def _runs(records: Sequence[Record]) -> str:
    """Render every run by itself: both checkpoints, and what happened."""
    if not records:
        return ""
    heads = ("Task", "Model", "Seed", "Best %", "Validation %", "Epoch", "Last %", "Time", "Status")
    rows = []
    for record in records:
        best, last = (record.scores.best, record.scores.last) if record.scores else (None, None)
        numbers = (
            str(record.seed),
            _share(best),
            MISSING if best is None or best.val_accuracy is None else percent(best.val_accuracy),
            MISSING if best is None else str(best.epoch),
            _share(last),
            _duration(record.wall_seconds),
        )
        status = f"{record.status}: {record.message}" if record.message else record.status
        rows.append(
            f"<tr><td>{_text(record.task)}</td><td>{_text(record.model)}</td>"
            + "".join(f'<td class="number">{_text(number)}</td>' for number in numbers)
            + f'<td class="prose">{_text(status)}</td></tr>'
        )
    head = "".join(f'<th scope="col"{" class=number" if 2 <= i <= 7 else ""}>{h}</th>' for i, h in enumerate(heads))
    caption = "Test accuracy of the checkpoint best on validation and of the last one, run by run."
    return (
        f'<section><h2>Runs</h2><p>{caption}</p><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _share(score: Score | None) -> str:
    return MISSING if score is None else percent(score.accuracy)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _environment(records: Sequence[Record]) -> str:
    if not records:
        return ""
    items = [("device", _distinct(describe(record.device) for record in records))]
    names = sorted({name for record in records for name in record.versions})
    items += [(name, _distinct(r.versions[name] for r in records if name in r.versions)) for name in names]
    items.append(("commit", _distinct(record.git_commit or "not from a checkout" for record in records)))
    rows = "".join(f"<dt>{_text(name)}</dt><dd>{_text(', '.join(values))}</dd>" for name, values in items)
    return f"<section><h2>Environment</h2><dl>{rows}</dl></section>"


def _reproduction(suite: Sequence[Cell], commands: Sequence[str]) -> str:
    listed = [cell for cell in suite if cell.records]
    if not commands and not listed:
        return ""
    block = f"<pre>{_text(chr(10).join(commands))}</pre>" if commands else ""
    configs = "".join(
        f"<details><summary>{_text(cell.task)} × {_text(cell.model)}, seed {cell.records[0].seed}: configuration"
        f" {_text(cell.records[0].config_hash)}</summary>"
        f"<pre>{_text(json.dumps(cell.records[0].config, indent=2, ensure_ascii=False))}</pre></details>"
        for cell in listed
    )
    return f"<section><h2>How to reproduce</h2>{block}{configs}</section>"
