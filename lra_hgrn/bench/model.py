"""Whole training steps and inference of models side by side, each in a process of its own, in turns."""

import dataclasses
import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from math import exp, log
from pathlib import Path

from lra_hgrn.bench.model_worker import OUT_OF_MEMORY, Work, of_length
from lra_hgrn.bench.runner import Runner
from lra_hgrn.cell import WIDTH, compose_cell
from lra_hgrn.config import Config
from lra_hgrn.config.compose import parse_overrides
from lra_hgrn.errors import UserError
from lra_hgrn.models.match import count_parameters, fit_width, task_spec
from lra_hgrn.training import environment

ATTENTION, REFERENCE = "transformer", "hgrn"  # whose speed the others' are compared with; whose size they have
KINDS = ("inference", "training")  # in this order: what training holds on to would count as inference's
TURNS = 7
SECONDS = 0.3  # of one turn
BUDGET = 60.0  # seconds of steps after which a model has no more turns, two apart


@dataclass
class Pass:
    """What the steps of one kind took."""

    steps: list[list[float]] = field(default_factory=list)  # seconds of every step of each turn
    peak: int | None = None  # bytes: allocated on a GPU; on a CPU what the process took above what it held before
    first: float | None = None  # seconds of the very first step, in which a network is compiled
    problem: str = ""  # why there is nothing, or nothing more

    @property
    def seconds(self) -> list[float]:
        """Median step of each turn."""
        return [statistics.median(turn) for turn in self.steps]

    @property
    def median(self) -> float | None:
        return statistics.median(self.seconds) if self.seconds else None


@dataclass
class Row:
    """One model on one shape of input."""

    task: str
    model: str  # its name in tables
    word: str  # as it was asked for
    parameters: int
    d_model: int
    matched: bool  # has the size of `REFERENCE`
    samples: int  # in a batch
    length: int  # steps of a sample
    documents: int  # in a sample
    passes: dict[str, Pass] = field(default_factory=lambda: {kind: Pass() for kind in KINDS})

    def rate(self, kind: str) -> float | None:
        """Samples a second."""
        seconds = self.passes[kind].median
        return None if seconds is None else self.samples / seconds

    def tokens(self, kind: str) -> float | None:
        """Steps of input a second."""
        rate = self.rate(kind)
        return None if rate is None else rate * self.length * self.documents


@dataclass(frozen=True)
class Entry:
    """A model that takes part on one shape."""

    row: Row
    work: Work


def entries(
    models: Sequence[str], task: str, overrides: Sequence[str], length: int | None = None
) -> tuple[list[Entry], list[str]]:
    """Compose the models on a task, softmax attention among them, at the size of HGRN with the same overrides.

    Args:
        models, task, overrides: words of the command line.
        length: steps of a sample; None: the task's.

    Returns:
        The entries, and a sentence for each model that keeps a size of its own or cannot take such inputs.

    Raises:
        UserError: a model, the task or an option that is unknown.
    """
    tree = parse_overrides(overrides)
    sized = any(key in tree.get("model", {}) for key in ("d_model", "match"))
    batch = tree.get("train", {}).get("batch_size")
    reference = None if sized else compose_cell(REFERENCE, task, overrides).config
    made: list[Entry] = []
    said = []
    for word in dict.fromkeys([*models, ATTENTION]):
        words, config, reason = _composed(word, task, overrides, None if word == REFERENCE else reference)
        gpu = environment.compute_device(config.train.accelerator).type == "cuda"
        samples = batch or (compose_cell(REFERENCE, task).config.train.batch_size if gpu else 1)
        spec = task_spec(config)
        spec = of_length(spec, length) if length else spec
        try:
            parameters = count_parameters(spec, config.model)
        except UserError as error:
            if word == ATTENTION:
                raise
            said.append(f"{config.model.name} is left out on {task}: {error}")
            continue
        if reason:
            said.append(f"{config.model.name} keeps the size of its recipe on {task}: {reason}")
        names = [one.row.model for one in made]
        row = Row(
            task=config.task.name,
            model=f"{config.model.name} ({word})" if config.model.name in names else config.model.name,
            word=word,
            parameters=parameters,
            d_model=config.model.d_model,
            matched=not sized and not reason,
            samples=samples,
            length=spec.max_length,
            documents=spec.documents,
        )
        made.append(Entry(row, Work(word, task, words, samples, length)))
    return made, said


def _composed(
    word: str, task: str, overrides: Sequence[str], reference: Config | None
) -> tuple[list[str], Config, str]:
    """Return the options of a model, what they make, and why it could not be given the size of the reference.

    model.match would take the size of HGRN's recipe, which is not HGRN's where an override changes its layers.
    """
    words, config = list(overrides), compose_cell(word, task, overrides).config
    if reference is None:
        return words, config, ""
    try:
        words.append(f"{WIDTH}={fit_width(config, reference)}")
    except UserError as error:
        return words, config, str(error)
    return words, compose_cell(word, task, words).config, ""


def measure(entered: Sequence[Entry], turns: int, seconds: float) -> Iterator[int]:
    """Let the models take turns and fill their rows in; yields the number of turns done, of ``turns``.

    A turn of each kind takes a model about ``seconds``. A model that fails is left out of what it fails at, and a
    process that dies of everything.
    """
    with tempfile.TemporaryDirectory(prefix="lra-bench-") as folder, ExitStack() as stack:
        runners = [
            stack.enter_context(
                Runner(
                    ["-m", "lra_hgrn.bench.model_worker", json.dumps(dataclasses.asdict(one.work))],
                    Path(folder) / f"{number}.log",
                )
            )
            for number, one in enumerate(entered)
        ]
        spent = [0.0] * len(entered)
        for turn in range(turns):
            for kind in KINDS:
                for number, (one, runner) in enumerate(zip(entered, runners, strict=True)):
                    found = one.row.passes[kind]
                    if found.problem or (spent[number] > BUDGET and len(found.seconds) > 1):
                        continue
                    spent[number] += _turn(runner, one.row, kind, seconds)
            yield turn + 1


def _turn(runner: Runner, row: Row, kind: str, seconds: float) -> float:
    """Take one turn and return the seconds that it took."""
    found = row.passes[kind]
    answer = runner.turn(f"{kind} {seconds}")
    if answer is None:
        killed = runner.close() == -9  # by the system, for want of memory
        for each in row.passes.values():
            each.problem = each.problem or (OUT_OF_MEMORY if killed else f"died: {runner.last_line()}")
        return 0.0
    if "problem" in answer:
        found.problem = answer["problem"]
        return 0.0
    found.steps.append(answer["seconds"])
    if found.peak is None:
        found.peak, found.first = answer["peak"], answer["first"]
    return answer["warm"] + sum(answer["seconds"])


def ratios(row: Row, attention: Row, kind: str) -> list[float]:
    """Return how many times as fast as attention a model was, turn by turn."""
    return [b / a for a, b in zip(row.passes[kind].seconds, attention.passes[kind].seconds, strict=False)]


def crossing(lengths: Sequence[int], times: Sequence[float], attention: Sequence[float]) -> float | None:
    """Return the length from which on a model is faster than attention, between measured ones on logarithmic axes.

    Returns:
        0.0 if it is at all lengths, None if it is not at the last one.
    """
    over = [log(a / b) for a, b in zip(times, attention, strict=True)]
    if over[-1] >= 0:
        return None
    for (before, after), (x, y) in zip(reversed(list(pairwise(lengths))), reversed(list(pairwise(over))), strict=True):
        if x >= 0:
            return exp(log(before) + x / (x - y) * (log(after) - log(before)))
    return 0.0
