"""What tables say below their rows: sentences made from the stamps of records and of published rows."""

from collections.abc import Iterable, Mapping, Sequence

from lra_hgrn.results.cells import Cell
from lra_hgrn.results.compare import Comparison
from lra_hgrn.results.departures import is_decisive, sentence
from lra_hgrn.results.gather import Results
from lra_hgrn.results.published import Figure
from lra_hgrn.results.record import SPOILT, Record
from lra_hgrn.results.stats import LEVEL
from lra_hgrn.results.tables.table import count, describe, sentences

ACCURACY = (
    "Accuracy: test split, checkpoint best on validation, mean over seeds; ± is the sample standard deviation. "
    "Seeds that failed or were spoilt by their numbers have no accuracy and are not in the mean; seeds at chance are."
)


def departures(cell: Cell) -> list[str]:
    """The departures of a cell's runs, each once."""
    return list(dict.fromkeys(departure for record in cell.records for departure in record.departures))


def of_cell(cell: Cell) -> list[str]:
    """Its track, if it is not the strict one, and its departures."""
    tracks = {record.track for record in cell.records} - {"strict"}
    return [f"{track.capitalize()} track." for track in tracks] + [sentences([one]) for one in departures(cell)]


def counts(cell: Cell) -> tuple[int, int, int]:
    """How many seeds were run, how many of them have no accuracy, and how many are at chance."""
    states = [record.status for record in cell.records]
    return len(states), sum(state in (*SPOILT, "failed") for state in states), states.count("chance")


def shortfall(cell: Cell) -> str | None:
    """What became of the seeds of a cell, with the reason where it has no accuracy; None where all is well."""
    if cell.status in ("", "finished"):
        return None
    said = f"{cell.status[0].upper()}{cell.status[1:]}."
    if cell.scores:
        return said
    return " ".join(dict.fromkeys([said, *(record.message for record in cell.records if record.message)]))


def different_data(peers: Sequence[Cell]) -> str | None:
    """Whether the models of one task cannot be compared because they saw different data."""
    records = [record for peer in peers for record in peer.records]
    prints = {record.data_fingerprint for record in records} - {None}
    if len(stamps(peers)) < 2 and len(prints) < 2:
        return None
    return f"The models of {peers[0].task} saw different data: their rows are not comparable."


def budgets(peers: Sequence[Cell]) -> str | None:
    """Whether more was spent on finding hyper-parameters of one model of a task than of another."""
    spent = {peer.model: _budget(peer.records[0]) for peer in peers if peer.records}
    if len(set(spent.values())) < 2:
        return None
    said = ", ".join(f"{model} {budget}" for model, budget in spent.items())
    return f"Searches for hyper-parameters: {said}."


def _budget(record: Record) -> str:
    tuning = record.config.get("tuning") or {}
    trials, epochs = tuning.get("trials", 0), tuning.get("epochs", 0)
    if not trials:
        return "none"
    return f"{count(trials, 'trial')} of {count(epochs, 'epoch')}"


def stamps(cells: Iterable[Cell]) -> list[str]:
    """Scale, protocol and source of the data of cells, each combination once."""
    records = (record for cell in cells for record in cell.records)
    return list(
        dict.fromkeys(f"Scale {r.scale}, protocol {r.protocol}, source of the data {r.source}." for r in records)
    )


def of_figure(figure: Figure) -> list[str]:
    """Its departures, the decisive ones first, and whether another paper than its own is the source."""
    codes = sorted(figure.departures, key=lambda code: (not is_decisive(code), code))
    said = list(map(sentence, codes))
    if "not checked" in figure.remark:
        said.append("Other departures from LRA’s rules were not checked.")
    if figure.seen == "secondary":
        said.append(f"As quoted in {figure.source}.")
    return said


def in_common(said: Mapping[str, Sequence[str]]) -> list[str]:
    """The notes that all cells of a row have: they belong to the row."""
    first, *others = [*said.values()] or [[]]
    return [note for note in first if all(note in other for other in others)]


def ranking(results: Results, ranked: bool) -> str:
    """By what best and second best are marked, or why nothing is."""
    comparisons = results.comparisons
    if results.compared_with is not None and not ranked:
        return f"No model is marked as best: each is compared with {results.compared_with} alone."
    if not comparisons:
        return "No model is marked as best: no two models of a task could be compared on the same test samples."
    methods = ", ".join(dict.fromkeys(comparison.method for comparison in comparisons))
    test = f"p < {1 - LEVEL:.2g} ({methods}; Holm’s correction over {count(len(comparisons), 'comparison')})"
    if not ranked:
        return f"No model is marked as best: none above chance beats all others of its task at {test}."
    single = " With one seed a side, other seeds may differ by more." if _single_seeds(comparisons) else ""
    return f"Bold: beats every other measured model of the task; underlined: beats all but that one; {test}.{single}"


def _single_seeds(comparisons: Sequence[Comparison]) -> bool:
    return any(one.seeds_first == one.seeds_second == 1 for one in comparisons)


def remarks(results: Results) -> list[str]:
    """Devices, data and what else holds for a whole table, one sentence each."""
    records = results.records
    said = []
    if any(record.scale != "full" or record.source == "mini" for record in records):
        said.append("Figures at another scale than full, or of miniature data, are not comparable with published ones.")
    devices = dict.fromkeys(describe(record.device) for record in records)
    if devices:
        said.append(f"Device{'s' if len(devices) > 1 else ''}: {'; '.join(devices)}.")
    counted = dict.fromkeys(record.memory.counts for record in records if record.memory is not None)
    if counted:
        said.append(f"Peak memory counts: {', '.join(counted)}.")
    prints = dict.fromkeys((cell.task, fingerprint(cell)) for cell in results.cells if fingerprint(cell))
    if prints:
        said.append("Data: " + ", ".join(f"{task} {digits}" for task, digits in prints) + ".")
    if results.others:
        said.append(f"Runs that belong to no cell of this table: {', '.join(r.run for r in results.others)}.")
    return said


def fingerprint(cell: Cell) -> str | None:
    """The first digits of the fingerprint of a cell's data."""
    found = [record.data_fingerprint for record in cell.records if record.data_fingerprint is not None]
    return found[0][:8] if found else None
