"""What `lra inspect` found in one run (``inspection/inspection.json`` in the run's folder): the schema of the file."""

import dataclasses
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lra_hgrn.errors import UserError
from lra_hgrn.results.decode import decode, load
from lra_hgrn.results.files import write_whole
from lra_hgrn.results.record import LowerBound
from lra_hgrn.results.tables.table import MISSING, si
from lra_tasks.errors import one_line, shown

SCHEMA = 1
FOLDER = "inspection"
FILE = "inspection.json"


@dataclass(frozen=True, kw_only=True)
class Quantiles:
    """Of a distribution: q10 is the value that 10 % lie under."""

    q10: float
    q25: float
    q50: float
    q75: float
    q90: float


@dataclass(frozen=True, kw_only=True)
class LayerGates:
    """Forget gates λ of one layer, over all real positions t of the samples and all channels c.

    The memory of one gate is 1 / (1 − λ) steps. The memory of a channel is τ_c = −1 / mean_t(ln λ_tc) steps: over n
    steps a state shrinks to the product of its gates, exp(−n / τ_c) with their geometric mean. Both end at 2²⁴, the
    longest memory that a float32 gate can tell from none lost.
    """

    layer: int  # from 1
    mixer: str  # class of the token mixer
    channels: int
    positions: int
    mean: float  # of λ
    gate: Quantiles  # of λ
    gate_memory: Quantiles  # of 1 / (1 − λ)
    channel_memory: Quantiles  # of τ_c
    memory_of_channels: list[float]  # τ_c of each channel
    untrained_memory: float | None  # median over the channels of τ_c before training, on the same samples
    histogram: list[float]  # share of λ in equal parts of [0, 1]
    memory_histogram: list[float]  # share of 1 / (1 − λ) in the quarter octaves from 1 to 2²⁴


@dataclass(frozen=True, kw_only=True)
class Document:
    """How much each position of one document adds to the predicted class's logit.

    ``occlusion`` is the fall of that logit when the embedding of a window is zero: of windows of ``window`` positions
    one after the other, or, of an image, of squares of ``window`` × ``window`` pixels, row by row.
    """

    length: int
    gradient: list[float]  # gradient × input, signed: Σ_d e_td · ∂logit / ∂e_td of each position t
    window: int
    occlusion: list[float]
    agreement: float | None  # Spearman's rank correlation of the two, window by window; None: one of them is constant


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One sample of the split, and what its prediction depends on."""

    index: int
    label: int
    predicted: int
    logits: list[float]
    documents: list[Document]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG file beside ``inspection.json``."""

    file: str
    caption: str

    def __post_init__(self) -> None:
        if Path(self.file).name != self.file or not self.file.endswith(".png"):
            raise ValueError(f"{shown(self.file)} is not the name of a PNG file")


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What was found. None: the model has nothing of the kind, and ``remarks`` says why."""

    schema: int = SCHEMA
    run: str  # name of the run's folder
    task: str
    model: str  # name in tables
    checkpoint: Literal["best", "last"]
    step: int  # of the checkpoint
    split: Literal["val", "test"]
    samples: int  # whose gates were read, spread evenly over the split
    lower_bounds: list[LowerBound] | None  # γ^k, layer by layer
    gates: list[LayerGates] | None  # of the layers that have forget gates
    attributions: list[Sample] | None
    pictures: list[Picture]
    remarks: list[str]  # sentences

    def save(self, directory: Path) -> Path:
        """Write the file into ``directory``, whole or not at all; return its path."""
        content = json.dumps(dataclasses.asdict(self), ensure_ascii=False, allow_nan=False)
        return write_whole(directory / FILE, content + "\n")


def load_inspection(run: Path) -> Inspection | None:
    """Read what is known of the run in the folder ``run``; None if it has not been inspected.

    Raises:
        UserError: the file is there and cannot be read.
    """
    path = run / FOLDER / FILE
    try:
        data = load(path)
        if isinstance(data, dict) and data.get("schema") != SCHEMA:
            raise ValueError(f"schema is {shown(data.get('schema'))}, and this version reads {SCHEMA}")
        return decode(Inspection, data)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no inspection ({one_line(error)}): run `lra inspect {run}` again.") from None


def table(inspection: Inspection) -> list[str]:
    """Return the lines of the table that `lra inspect` prints; nothing where there is neither bound nor gate."""
    bounds = dict(enumerate(inspection.lower_bounds or [], 1))
    gates = {layer.layer: layer for layer in inspection.gates or []}
    rows: list[tuple[str, ...]] = [
        ("layer", "lower bound, mean", "forget gate, median", "memory in steps, median (10–90 % of channels)")
    ]
    for k in sorted(bounds.keys() | gates.keys()):
        bound = f"{bounds[k].mean:.3f}" if k in bounds else MISSING
        gate = f"{gates[k].gate.q50:.3f}" if k in gates else MISSING
        rows.append((str(k), bound, gate, _memory(gates[k].channel_memory) if k in gates else MISSING))
    if len(rows) == 1:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    rows.insert(1, tuple("-" * (width - 1) + ":" for width in widths))
    return [
        "| " + " | ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]


def _memory(steps: Quantiles) -> str:
    return f"{si(steps.q50)} ({si(steps.q10)}–{si(steps.q90)})"


def growth(inspection: Inspection) -> str:
    """Say in one sentence whether the median memory grows with depth; nothing where there are no two layers.

    The memory before training stands beside it: lower bounds that start at (k − 1) / K make it grow by themselves.
    """
    medians = [layer.channel_memory.q50 for layer in inspection.gates or []]
    if len(medians) < 2:
        return ""
    listed = ", ".join(map(si, medians))
    before = [layer.untrained_memory for layer in inspection.gates or [] if layer.untrained_memory is not None]
    untrained = f"; before training: {', '.join(map(si, before))}" if before else ""
    pairs = list(itertools.pairwise(medians))
    if all(low < high for low, high in pairs):
        said = "grows with every layer"
    elif medians[-1] > medians[0]:
        said = "is longer in the last layer than in the first, but does not grow with every layer"
    else:
        said = "does not grow with depth"
    return f"The median memory {said} (in steps, layer by layer: {listed}{untrained})."
