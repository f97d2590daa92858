"""Batches of a split: padded, in an order that is a function of (seed, epoch), resumable inside an epoch."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from lra_tasks.card import TaskSpec
from lra_tasks.errors import TaskError
from lra_tasks.order import epoch_order, epoch_variants, share
from lra_tasks.resident import resident_tensor
from lra_tasks.store import Split


class Batch(NamedTuple):
    """B samples of N documents each: rows 0..B−1 are the first documents, rows B..2B−1 the second ones, if any."""

    # (N·B, L) int64 tokens or float32 values, padded with 0; (N·B, L, C) where a step has C values. L: steps of the
    # longest document of the batch, over all processes.
    inputs: torch.Tensor
    lengths: torch.Tensor  # (N·B,) int64, steps before the padding
    labels: torch.Tensor  # (B,) int64

    def to(self, device: torch.device) -> "Batch":
        """Return it with its tensors on a device."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))


class BatchLoader:
    """Sized iterable of :class:`Batch`; every sample once an epoch, the last batch as long as what is left.

    Each pass is one epoch. The order of an epoch, and the variants in which its samples are served, depend on ``seed``
    and the epoch's number alone, so that a loader which was given the state of another goes on with the very next
    batch.

    Several processes share each batch: every one takes a consecutive part of it, so that steps, epochs and states
    are those of one process, and so is the padding. In training, where the last batch has fewer samples than there are
    processes, those left over take its first sample again, with a `weight` of 0; in evaluation they get no batch, and
    no sample is served twice.

    Args:
        split: the samples.
        spec: whether they are tokens or values, and how values are scaled.
        batch_size: samples in a batch, over all processes.
        shuffle: draw an order for every epoch; else the order of the store.
        seed: seed of the orders.
        bucket_batches: batches of like lengths are made out of this many at a time; 0: lengths do not matter.
        variants: (V, L) int64: a sample of L steps is served as one of V, drawn anew in each epoch; step i of variant
            v is step ``variants[v, i]`` of what is stored. None: samples are served as they are stored.
        device: where the split's tokens stay and batches are made; None: read from the store, made in main memory.
        rank, world_size: this process and how many there are.

    Raises:
        TaskError: fewer samples in a batch than processes, buckets without shuffling, or variants of another length.
    """

    def __init__(
        self,
        split: Split,
        spec: TaskSpec,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        bucket_batches: int = 0,
        variants: np.ndarray | None = None,
        device: torch.device | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size < world_size:
            raise TaskError(
                f"A batch of {batch_size} cannot be shared by {world_size} processes: raise batch_size to "
                f"{world_size} or more, or start fewer processes."
            )
        if bucket_batches and not shuffle:
            raise TaskError("bucket_batches sorts shuffled samples: set it to 0 where samples keep the store's order.")
        if variants is not None and (spec.variable or variants.shape[1] != spec.max_length):
            raise TaskError(
                f"{spec.name} has variants of {variants.shape[1]} steps, and its samples have "
                f"{'various lengths' if spec.variable else spec.max_length}: give one step for each."
            )
        self.split = split
        self.spec = spec
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.bucket_batches = bucket_batches
        self.variants = variants
        self.device = device
        self.rank = rank
        self.world_size = world_size
        # What the mean over the samples last served counts in the mean over the processes, to give that over all.
        self.weight = 1.0
        self._epoch = 0
        self._position = 0  # batches of this epoch that have been yielded
        self._resumed = False

    def __len__(self) -> int:
        """Batches that this process takes in an epoch."""
        left = len(self.split) % self.batch_size
        return self._steps - (not self.shuffle and 0 < left <= self.rank)

    def __iter__(self) -> Iterator[Batch]:
        # A generator: this body first runs when a batch is asked for, so a spare iter() costs no epoch.
        if self._position and not self._resumed:  # the pass before was left early
            self._epoch, self._position = self._epoch + 1, 0
        self._resumed = False
        order, drawn = self._order(), self._drawn()
        for index in range(self._position, len(self)):
            step = order[index * self.batch_size : (index + 1) * self.batch_size]
            own = share(step, self.rank, self.world_size, fill=self.shuffle)
            batch = self._collate(own, self._longest(step), None if drawn is None else drawn[own])
            self.weight = 0.0 if self.rank >= len(step) else len(own) * self.world_size / len(step)
            self._position = index + 1
            if self._position == len(self):  # a state taken at the last batch is the start of the next epoch
                self._epoch, self._position = self._epoch + 1, 0
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Where the next batch comes from: the epoch, and the number of its batches already yielded."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next pass go on from ``state``, of a loader with the same split, batch size, seed and buckets.

        The number of processes may be another one.

        Raises:
            TaskError: the state lies beyond the last batch, as one of smaller batches may.
        """
        if state["position"] > max(0, self._steps - 1):
            raise TaskError(
                f"The saved state stands at batch {state['position']} where an epoch has {self._steps}: resume with "
                "the batch size and the data that it was saved with."
            )
        self._epoch, self._position = state["epoch"], state["position"]
        self._resumed = True

    @property
    def _steps(self) -> int:
        return -(-len(self.split) // self.batch_size)

    def _order(self) -> np.ndarray:
        if not self.shuffle:
            return np.arange(len(self.split))
        return epoch_order(
            len(self.split),
            self.batch_size,
            seed=self.seed,
            epoch=self._epoch,
            lengths=self.split.lengths() if self.bucket_batches else None,
            bucket_batches=self.bucket_batches,
        )

    def _drawn(self) -> np.ndarray | None:
        """Return the number of each sample's variant in this epoch, (samples,) int64."""
        if self.variants is None:
            return None
        return epoch_variants(len(self.split), len(self.variants), seed=self.seed, epoch=self._epoch)

    def _longest(self, samples: np.ndarray) -> int:
        """Return the steps of the longest document of some samples."""
        documents = self.split.documents(samples)
        return int((self.split.offsets[documents + 1] - self.split.offsets[documents]).max(initial=0))

    def _collate(self, samples: np.ndarray, longest: int, drawn: np.ndarray | None) -> Batch:
        documents = self.split.documents(samples)
        if drawn is not None:
            drawn = np.tile(drawn, len(documents))  # the documents of a sample share its number
        documents = documents.reshape(-1)
        starts = self.split.offsets[documents]
        lengths = self.split.offsets[documents + 1] - starts
        labels = self.split.labels[samples]
        if self.device is None:
            return self._from_store(starts, lengths, longest, labels, drawn)
        return self._on_device(starts, lengths, longest, labels, drawn, self.device)

    def _from_store(
        self, starts: np.ndarray, lengths: np.ndarray, longest: int, labels: np.ndarray, drawn: np.ndarray | None
    ) -> Batch:
        # numpy and not torch: so small a tensor is not worth waking torch's threads for.
        tokens = self.split.tokens
        padded = np.zeros((len(starts), longest, *tokens.shape[1:]), tokens.dtype)
        for row, start, length in zip(padded, starts.tolist(), lengths.tolist(), strict=True):
            row[:length] = tokens[start : start + length]
        if drawn is not None and self.variants is not None:
            padded = padded[np.arange(len(padded))[:, None], self.variants[drawn]]
        inputs = padded.astype(np.int64) if self.spec.inputs == "tokens" else self._values(padded, lengths)
        return Batch(torch.from_numpy(inputs), torch.from_numpy(lengths), torch.from_numpy(labels).long())

    def _values(self, padded: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        shift, scale = (np.asarray(each, np.float32) for each in (self.spec.shift, self.spec.scale))
        values = (padded.astype(np.float32) - shift) / scale
        if lengths.min(initial=values.shape[1]) < values.shape[1]:
            values[np.arange(values.shape[1]) >= lengths[:, None]] = 0.0
        return values

    def _on_device(
        self,
        starts: np.ndarray,
        lengths: np.ndarray,
        longest: int,
        labels: np.ndarray,
        drawn: np.ndarray | None,
        device: torch.device,
    ) -> Batch:
        """Cut the batch out of the resident tokens; the host knows every shape and never waits for the device."""
        tokens = resident_tensor(self.split.tokens, device)
        parts = [starts, lengths, labels, *([] if drawn is None else [drawn])]
        numbers = torch.from_numpy(np.concatenate(parts))
        if device.type == "cuda":
            numbers = numbers.pin_memory()  # else the copy would wait for all that the device still has to do
        first, steps, answers, *variant = numbers.to(device, non_blocking=True).split([len(part) for part in parts])
        step = torch.arange(longest, device=device)
        if variant and self.variants is not None:
            places = first[:, None] + resident_tensor(self.variants, device)[variant[0]]
        else:
            places = first[:, None] + step
        # Where the last document is padded, the index runs beyond the tokens.
        stored = tokens[places.clamp_(max=max(0, len(tokens) - 1))]
        if self.spec.inputs == "tokens":
            inputs = stored.long()
            if stored.dtype == torch.int16:
                inputs &= 0xFFFF  # the bits of uint16
        else:
            inputs = (stored.float() - _constant(self.spec.shift, device)) / _constant(self.spec.scale, device)
        if lengths.min(initial=longest) < longest:
            padding = step >= steps[:, None]
            inputs.masked_fill_(padding.view(*padding.shape, *[1] * (tokens.ndim - 1)), 0)
        return Batch(inputs, steps, answers)


def _constant(numbers: float | tuple[float, ...], device: torch.device) -> torch.Tensor:
    """Return one number, (), or one for each channel, (C,), as float32 on the device.

    On the device, since CUDA would multiply by the inverse of a plain divisor and round otherwise than a CPU; and
    filled there, since a copy would wait for all that the device still has to do.
    """
    if isinstance(numbers, tuple):
        return torch.stack([torch.full((), number, dtype=torch.float32, device=device) for number in numbers])
    return torch.full((), numbers, dtype=torch.float32, device=device)
