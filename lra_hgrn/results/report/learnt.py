"""The report's section of what models learnt, from what `lra inspect` wrote into the folders of the runs."""

from collections.abc import Sequence
from pathlib import Path

from lra_hgrn.errors import UserError
from lra_hgrn.inspection.record import FOLDER, Inspection, Picture, growth, load_inspection
from lra_hgrn.results.record import Record
from lra_hgrn.results.report import page
from lra_hgrn.results.tables.table import count

_SAID = (
    "What the inspected models remember, layer by layer, and which parts of an input their decisions depend on "
    "(“lra inspect”)."
)


def learnt(records: Sequence[Record], runs: Path | None) -> tuple[str, list[str]]:
    """Render what was inspected of these runs, nothing if it was none; return it and what could not be read.

    Args:
        records: of the runs.
        runs: folder of the runs' folders; None: there are none.
    """
    articles, troubles = [], []
    for record in records if runs is not None else ():
        folder = Path(runs or "") / record.run
        try:
            inspection = load_inspection(folder)
            if inspection is not None:
                articles.append(_inspected(record, inspection, folder / FOLDER))
                troubles += _outdated(record, inspection)
        except UserError as error:
            troubles.append(str(error))
    said = f"<p>{page.text(_SAID)}</p>" if articles else ""
    return page.section("What the models learnt", said, *articles), troubles


def _inspected(record: Record, inspection: Inspection, folder: Path) -> str:
    """Render one inspected run: the gates openly, the samples behind a line to click on."""
    gates = [_picture(folder, picture) for picture in inspection.pictures if picture.file == "gates.png"]
    samples = [_picture(folder, picture) for picture in inspection.pictures if picture.file != "gates.png"]
    head = f"{record.task} × {record.model}, seed {record.seed}, {inspection.checkpoint} checkpoint"
    words = " ".join(filter(None, [f"{head}.", growth(inspection), *inspection.remarks]))
    closed = page.details(f"{head}: {count(len(samples), 'decision')}", "".join(samples)) if samples else ""
    return f"<p>{page.text(words)}</p>{''.join(gates)}{closed}"


def _picture(folder: Path, picture: Picture) -> str:
    try:
        return page.picture((folder / picture.file).read_bytes(), picture.caption)
    except OSError as error:
        raise UserError(f"{folder / picture.file} cannot be read ({error.strerror}): inspect the run again.") from None


def _outdated(record: Record, inspection: Inspection) -> list[str]:
    step = getattr(record.scores, inspection.checkpoint).step if record.scores else inspection.step
    if step == inspection.step:
        return []
    return [
        f"{record.task} × {record.model}, seed {record.seed}: inspected at step {inspection.step}, but its "
        f"{inspection.checkpoint} checkpoint is now of step {step}; inspect it again."
    ]
