"""Inspect one run: read it, measure it, write numbers and figures into its folder."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from lra_hgrn.errors import UserError
from lra_hgrn.inspection.attribution import NoEmbedding, attribute
from lra_hgrn.inspection.figures import gates_caption, gates_figure
from lra_hgrn.inspection.gates import gated_mixers, measure
from lra_hgrn.inspection.record import FOLDER, Inspection, LayerGates, Picture, Sample
from lra_hgrn.inspection.sample_figures import image_figure, sample_caption, sequence_figure
from lra_hgrn.inspection.trained import Trained, load_trained, read_config
from lra_hgrn.models.classifier import SequenceClassifier
from lra_hgrn.progress import Reporter
from lra_hgrn.results.figures import to_png
from lra_hgrn.results.files import write_whole
from lra_hgrn.results.record import LowerBound, lower_bounds

SHOWN = 2  # samples whose decision is shown unless others are named


def inspect_run(
    directory: Path,
    *,
    split: Literal["val", "test"] = "test",
    samples: int = 64,
    shown: Sequence[int] | None = None,
    checkpoint: Literal["best", "last"] = "best",
    data_dir: Path | None = None,
) -> Inspection:
    """Inspect the run in ``directory`` and write ``inspection/``, in place of what an earlier call left there.

    Args:
        split: where samples are taken from.
        samples: whose gates are read, spread evenly over the split.
        shown: numbers of the samples whose decision is attributed to positions; None: the first two.
        checkpoint: whose weights are taken.
        data_dir: folder of prepared tasks; None: that of the run.

    Raises:
        UserError: the run, its checkpoint or its data cannot be used, there is no such sample, or the folder cannot be
            written.
    """
    if samples < 1:
        raise UserError(f"--samples must be 1 or more, not {samples}.")
    config = read_config(directory)  # before the folder is made
    folder = directory / FOLDER
    try:
        folder.mkdir(exist_ok=True)
        with Reporter(folder, f"{config.model.name} on {config.task.name}") as reporter:
            trained = load_trained(directory, checkpoint, data_dir, reporter)
            numbers = _numbers(trained, split, shown)
            gates = _gates(trained, split, samples, reporter)
            attributions, remark = _attributions(trained, split, numbers, reporter)
            size = min(samples, len(trained.task.split(split)))
            found = Inspection(
                run=directory.resolve().name,
                task=trained.config.task.name,
                model=trained.config.model.name,
                checkpoint=checkpoint,
                step=trained.step,
                split=split,
                samples=size,
                lower_bounds=_bounds(trained),
                gates=gates or None,
                attributions=attributions,
                pictures=[],
                remarks=[sentence for sentence in (_no_gates(trained), remark) if sentence],
            )
            return _write(found, trained, folder)
    except OSError as error:
        raise UserError(f"Cannot write to {folder}: {error.strerror or error}.") from None
    finally:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _numbers(trained: Trained, split: str, shown: Sequence[int] | None) -> list[int]:
    size = len(trained.task.split(split))
    if not size:
        raise UserError(f"The {split} split of {trained.task.name} is empty: choose another --split.")
    for number in shown or ():
        if not 0 <= number < size:
            raise UserError(f"There is no sample {number}: the {split} split of this task has numbers 0 to {size - 1}.")
    return list(range(min(SHOWN, size))) if shown is None else list(dict.fromkeys(shown))


def _gates(trained: Trained, split: str, samples: int, reporter: Reporter) -> list[LayerGates]:
    size = len(trained.task.split(split))
    chosen = np.unique(np.linspace(0, size - 1, min(samples, size)).round().astype(np.int64))
    both = 2 * len(chosen)
    found = measure(trained.net, trained.batches(split, chosen), lambda done: reporter.update("gates", done, both))
    before = measure(
        trained.untrained,
        trained.batches(split, chosen),
        lambda done: reporter.update("gates", len(chosen) + done, both),
    )
    return [
        dataclasses.replace(layer, untrained_memory=start.channel_memory.q50)
        for layer, start in zip(found, before, strict=True)
    ]


def _attributions(
    trained: Trained, split: str, numbers: list[int], reporter: Reporter
) -> tuple[list[Sample] | None, str]:
    found = []
    try:
        for done, number in enumerate(numbers):
            reporter.update("attribution", done, len(numbers))
            (batch,) = trained.batches(split, np.array([number]), 1)
            found.append(attribute(trained.net, batch, number, trained.task.spec.side))
        reporter.update("attribution", len(numbers), len(numbers))
    except NoEmbedding as error:
        return None, str(error)
    return found, ""


def _bounds(trained: Trained) -> list[LowerBound] | None:
    bounds = trained.net.lower_bounds() if isinstance(trained.net, SequenceClassifier) else None
    if bounds is None:
        return None
    if not bounds.isfinite().all():
        raise UserError(
            "The model's lower bounds are not finite: the run has diverged, and there is nothing to inspect."
        )
    return lower_bounds(bounds.detach().cpu().numpy())


def _no_gates(trained: Trained) -> str:
    if gated_mixers(trained.net):
        return ""
    if not isinstance(trained.net, SequenceClassifier):
        return f"{type(trained.net).__name__} is a whole classifier, whose layers and forget gates are not known here."
    names = dict.fromkeys(type(block.token_mixer).__name__ for block in trained.net.blocks)
    return f"The token mixer {', '.join(names)} has no forget gates that it could show."


def _write(found: Inspection, trained: Trained, folder: Path) -> Inspection:
    """Draw the figures, write all, and remove those of an earlier call; the numbers come last."""
    drawn: list[tuple[Picture, bytes]] = []
    gates = gates_figure(found)
    if gates is not None:
        drawn.append((Picture(file="gates.png", caption=gates_caption(found)), to_png(gates)))
    drawn += [_sample(found, trained, sample) for sample in found.attributions or ()]
    for picture, content in drawn:
        write_whole(folder / picture.file, content)
    complete = dataclasses.replace(found, pictures=[picture for picture, _ in drawn])
    complete.save(folder)
    names = {picture.file for picture, _ in drawn}
    for path in folder.glob("*.png"):
        if path.name not in names and (path.name == "gates.png" or path.name.startswith(("val-", "test-"))):
            path.unlink()
    return complete


def _sample(found: Inspection, trained: Trained, sample: Sample) -> tuple[Picture, bytes]:
    documents, _ = trained.task.split(found.split)[sample.index]
    spec = trained.task.spec
    if spec.side:
        shape = (spec.side, spec.side, *spec.step_shape)
        figure = image_figure(sample, [document.reshape(shape) for document in documents])
    else:
        tokens = spec.inputs == "tokens"
        symbols = [trained.task.symbols(document) if tokens else None for document in documents]
        figure = sequence_figure(sample, symbols, list(documents))
    caption = sample_caption(sample, found.model, found.task, found.split, bool(spec.side))
    return Picture(file=f"{found.split}-{sample.index}.png", caption=caption), to_png(figure)
