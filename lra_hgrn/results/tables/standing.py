"""Where a measured cell stands: whether it failed, its rank, and how far it is from a published figure."""

from lra_hgrn.results.cells import Cell
from lra_hgrn.results.compare import marks
from lra_hgrn.results.departures import codes
from lra_hgrn.results.deviation import Deviation, deviate
from lra_hgrn.results.gather import Results
from lra_hgrn.results.published import Figure, load_published
from lra_hgrn.results.record import SPOILT
from lra_hgrn.results.tables.table import Rank


def failed(cell: Cell) -> bool:
    """Whether a cell was run and no seed of it came above chance."""
    return bool(cell.records) and all(record.status in ("chance", *SPOILT, "failed") for record in cell.records)


def ranks(results: Results) -> dict[tuple[str, str], Rank]:
    """Return the rank by (task, model) as far as tests show it; a cell that failed has none, whatever others did."""
    lost = {(cell.task, cell.model) for cell in results.cells if failed(cell)}
    return {key: rank for key, rank in marks(results.cells, results.comparisons).items() if key not in lost}


def stands_for(cell: Cell) -> str | None:
    """Return the id of the published row that the recipe of all of a cell's seeds repeats, or None."""
    ids = {record.config.get("stands_for") for record in cell.records}
    return next(iter(ids)) if len(ids) == 1 else None


def published_figure(cell: Cell) -> Figure | None:
    """Return the published figure that a cell stands for, or None where there is none."""
    method = load_published().get(stands_for(cell) or "")
    return method.figures.get(cell.key.task) if method is not None else None


def deviation_of(cell: Cell) -> Deviation | None:
    """Compare a cell with the published figure that it stands for; None without a figure or without an accuracy."""
    figure, summary = published_figure(cell), cell.summary
    if figure is None or summary is None:
        return None
    departures = codes(departure for record in cell.records for departure in record.departures)
    chances = [record.chance for record in cell.records if record.chance is not None]
    return deviate(
        summary, cell.scores[0].total, cell.key.scale, departures, figure, chance=chances[0] if chances else None
    )
