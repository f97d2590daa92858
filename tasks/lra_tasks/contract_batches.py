"""Batches held to a task's spec, and samples as digests, so that what is served can be compared with what is stored."""

import hashlib
from collections.abc import Iterator

import numpy as np
import torch

from lra_tasks.card import TaskSpec
from lra_tasks.findings import need
from lra_tasks.loader import Batch
from lra_tasks.store import Split


def stored_digests(split: Split, spec: TaskSpec) -> Iterator[bytes]:
    """Yield the digest of each sample of a split, in its order, as a batch has to serve it."""
    for index in range(len(split)):
        documents, label = split[index]
        if spec.inputs == "tokens":
            yield _digest([document.astype(np.int64) for document in documents], label)
        else:
            shift, scale = (np.asarray(each, np.float32) for each in (spec.shift, spec.scale))
            yield _digest([(document.astype(np.float32) - shift) / scale for document in documents], label)


def batch_digests(batch: Batch, spec: TaskSpec) -> list[bytes]:
    """Check a batch and return the digest of each of its samples.

    Raises:
        Broken: kinds, shapes, lengths, ids or padding are not what the spec says.
    """
    samples = len(batch.labels)
    rows = spec.documents * samples
    kind = torch.int64 if spec.inputs == "tokens" else torch.float32
    for name, tensor, shape, dtype in (
        ("inputs", batch.inputs, (rows, int(batch.lengths.max()), *spec.step_shape), kind),
        ("lengths", batch.lengths, (rows,), torch.int64),
        ("labels", batch.labels, (samples,), torch.int64),
    ):
        need(
            tuple(tensor.shape) == shape and tensor.dtype == dtype,
            f"A batch has {name} of shape {tuple(tensor.shape)} and {tensor.dtype} where {shape} and {dtype} are due.",
        )
    inputs, lengths, labels = batch.inputs.numpy(), batch.lengths.numpy(), batch.labels.numpy()
    least, most = (1 if spec.variable else spec.max_length), spec.max_length
    need(
        least <= lengths.min() and lengths.max() <= most,
        f"A batch has lengths from {lengths.min()} to {lengths.max()} where the spec says {least} to {most}.",
    )
    padding = np.arange(inputs.shape[1]) >= lengths[:, None]
    need(not inputs[padding].any(), "A batch is padded with something else than 0.")
    need(labels.min() >= 0 and labels.max() < spec.n_classes, f"A batch has a label beyond 0 to {spec.n_classes - 1}.")
    if spec.inputs == "tokens":
        need(
            inputs.min() >= 0 and inputs.max() < spec.vocab_size and (inputs[~padding].min() > 0 or not spec.variable),
            f"A batch has ids beyond {int(spec.variable)} to {spec.vocab_size - 1}.",
        )
    else:
        need(np.isfinite(inputs).all(), "A batch has values that are no finite numbers.")
    places = np.arange(rows).reshape(spec.documents, samples).T.tolist()
    steps = lengths.tolist()
    return [
        _digest([inputs[place, : steps[place]] for place in own], label)
        for own, label in zip(places, labels.tolist(), strict=True)
    ]


def _digest(documents: list[np.ndarray], label: int) -> bytes:
    """Return 16 bytes that tell one sample, its documents and its label, from another."""
    head = np.array([label, *(len(document) for document in documents)], np.int64)
    return hashlib.blake2b(
        head.tobytes() + b"".join(document.tobytes() for document in documents), digest_size=16
    ).digest()
