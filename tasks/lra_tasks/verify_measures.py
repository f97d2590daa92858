"""What `lra_tasks.verify` counts in a store: documents read once, a few MiB at a time, and figures drawn from them."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lra_tasks.card import TaskSpec
from lra_tasks.store import Split
from lra_tasks.tokens import EOS

_CHUNK_STEPS = 1 << 22


@dataclass(frozen=True)
class Figure:
    """A number found in the samples.

    ``error`` is the standard deviation that it has because the samples are drawn; None for what is counted exactly and
    belongs to one set of data.
    """

    value: float
    error: float | None = None


@dataclass
class Documents:
    """What one pass over documents that lie end to end has found."""

    lengths: np.ndarray  # (D,) int64
    digests: np.ndarray  # (D,) uint64, equal for equal documents
    lowest: float
    highest: float  # NaN where a value is
    ids: int  # different ones
    marked: bool  # every document ends with the end mark
    # (D, C, 3) float64: mean, mean of squares and share of zeros of each channel; (0, C, 3) where they are no images.
    moments: np.ndarray


def flaw(tokens: np.ndarray, offsets: np.ndarray, samples: int | None) -> str | None:
    """Return what keeps ``offsets`` (D + 1,) from cutting all of ``tokens`` (S,) in documents, or None.

    Args:
        samples: that each have one document; None: documents are shared by pairs.
    """
    if len(offsets) == 0 or offsets[0] != 0:
        return "not from 0"
    if (offsets[1:] <= offsets[:-1]).any():
        return f"not rising at {int(np.argmax(offsets[1:] <= offsets[:-1])):,}"
    if samples is not None and len(offsets) != samples + 1:
        return f"of {len(offsets) - 1:,} documents for {samples:,} samples"
    return None if offsets[-1] == len(tokens) else f"rising, to {offsets[-1]:,}"


def read_documents(split: Split, spec: TaskSpec, advance: Callable[[int], None]) -> Documents:
    """Read all documents of a split whose offsets have no :func:`flaw`.

    Args:
        split: of it, ``tokens`` and ``offsets`` alone.
        spec: tells images and tokens from others.
        advance: called with the number of documents that have been read since the call before.
    """
    tokens, offsets = split.tokens, split.offsets
    count = len(offsets) - 1
    seen = np.zeros(1 << 16, bool)
    digests, moments = np.empty(count, np.uint64), np.empty((count if spec.side else 0, spec.channels, 3))
    lowest, highest = np.inf, -np.inf
    first = 0
    while first < count:
        end = int(np.searchsorted(offsets, offsets[first] + _CHUNK_STEPS, "right")) - 1
        end = min(max(end, first + 1), count)
        block = tokens[offsets[first] : offsets[end]]
        lowest, highest = np.minimum(lowest, block.min()), np.maximum(highest, block.max())  # NaN stays
        if spec.inputs == "tokens":
            seen[block] = True
        starts = (offsets[first : end + 1] - offsets[first]).tolist()
        for place in range(end - first):
            document = block[starts[place] : starts[place + 1]]
            digest = hashlib.blake2b(document.reshape(-1).data, digest_size=8).digest()
            digests[first + place] = int.from_bytes(digest, "little")
        if spec.side:
            _moments(block.reshape(end - first, -1, spec.channels), moments[first:end])
        advance(end - first)
        first = end
    marked = spec.inputs == "tokens" and count > 0 and bool((tokens[offsets[1:] - 1] == EOS).all())
    return Documents(np.diff(offsets), digests, float(lowest), float(highest), int(seen.sum()), marked, moments)


def _moments(images: np.ndarray, out: np.ndarray) -> None:
    """Fill ``out`` (D, C, 3) from images (D, L, C)."""
    steps = images.shape[1]
    values = images.astype(np.float32)
    out[..., 0] = values.sum(axis=1) / steps
    out[..., 1] = np.einsum("ijc,ijc->ic", values, values) / steps
    out[..., 2] = (images == 0).sum(axis=1) / steps


def sample_keys(splits: Mapping[str, Split], documents: Mapping[str, Documents]) -> dict[str, np.ndarray]:
    """Return a number for each sample of each split, (n,) int64, equal for samples of equal documents.

    Args:
        splits: by name.
        documents: those of each split; the same object for all where splits share them.
    """
    parts = list({id(part): part for part in documents.values()}.values())
    _, numbers = np.unique(np.concatenate([part.digests for part in parts]), return_inverse=True)
    ends = np.cumsum([len(part.digests) for part in parts])
    own = {id(part): found for part, found in zip(parts, np.split(numbers, ends[:-1]), strict=True)}
    keys = {}
    for name, split in splits.items():
        first, *second = own[id(documents[name])][split.documents(np.arange(len(split)))]
        keys[name] = first * len(numbers) + second[0] if second else first
    return keys


def length_figures(lengths: np.ndarray) -> dict[str, Figure]:
    """Return mean, standard deviation and quartiles of ``lengths`` (D,), and their extremes."""
    figures = {"mean length": _mean(lengths), "sd of length": _deviation(lengths, lengths.astype(np.float64) ** 2)}
    ordered = np.sort(lengths)
    for name, part in (("lower quartile of length", 0.25), ("median length", 0.5), ("upper quartile of length", 0.75)):
        # The quantile's own error: a quarter of the way, in values, that its rank moves by in four deviations.
        spread = 4 * np.sqrt(part * (1 - part) / len(ordered))
        low, value, high = np.quantile(ordered, np.clip([part - spread, part, part + spread], 0, 1))
        figures[name] = Figure(float(value), float(high - low) / 8)
    return {**figures, "shortest length": Figure(int(ordered[0])), "longest length": Figure(int(ordered[-1]))}


def label_figures(counts: Mapping[str, np.ndarray]) -> dict[str, Figure]:
    """Return the share of each label, and its samples in train and val together and in test.

    Args:
        counts: samples of each label, (classes,), by split.
    """
    total = np.sum(list(counts.values()), axis=0)
    samples = total.sum()
    figures = {}
    for label, count in enumerate(total.tolist()):
        share = count / samples
        figures[f"share of label {label}"] = Figure(share, float(np.sqrt(share * (1 - share) / samples)))
        figures[f"samples of label {label} in train and val"] = Figure(
            int(sum(found[label] for split, found in counts.items() if split != "test"))
        )
        figures[f"samples of label {label} in test"] = Figure(int(counts["test"][label]) if "test" in counts else 0)
    return figures


def pixel_figures(moments: np.ndarray) -> dict[str, Figure]:
    """Return mean and standard deviation of all pixels and the share of zeros, from each image's moments (D, C, 3).

    In colour, where C is 3, those of red, green and blue.
    """
    names = ["pixel mean", "pixel sd", "share of zeros"]
    colours = [[f"mean of {colour}", f"sd of {colour}", f"zeros of {colour}"] for colour in ("red", "green", "blue")]
    figures = {}
    for channel, (mean, deviation, zeros) in enumerate(colours if moments.shape[1] == 3 else [names]):
        first, second, empty = moments[:, channel].T
        figures.update({mean: _mean(first), deviation: _deviation(first, second), zeros: _mean(empty)})
    return figures


def _mean(values: np.ndarray) -> Figure:
    return Figure(float(values.mean()), float(values.std() / np.sqrt(len(values))))


def _deviation(first: np.ndarray, second: np.ndarray) -> Figure:
    """Return the standard deviation over all steps, from the first two moments (D,) of each document's steps.

    Documents are drawn, not steps: to first order the deviation s moves with a document's moments (a, b) by
    (b − 2ma) / 2s, m being the mean.
    """
    mean = first.mean()
    deviation = float(np.sqrt(max(0.0, second.mean() - mean**2)))
    if deviation == 0:
        return Figure(0.0, 0.0)
    return Figure(deviation, float((second - 2 * mean * first).std() / (2 * deviation) / np.sqrt(len(first))))
