"""Batches of a split: padded, in an order that is a function of (seed, epoch), resumable inside an epoch."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import torch

from lra_tasks.errors import TaskError
from lra_tasks.store import Split


class Batch(NamedTuple):
    """B samples of N documents each: rows 0..B−1 are the first documents, rows B..2B−1 the second ones, if any."""

    inputs: torch.Tensor  # (N·B, L) int64 tokens padded with 0, or float32 values in [−1, 1]
    lengths: torch.Tensor  # (N·B,) int64, steps before the padding
    labels: torch.Tensor  # (B,) int64


class BatchLoader:
    """Sized iterable of :class:`Batch`; every sample once an epoch, the last batch as long as what is left.

    Each pass is one epoch. The order of an epoch depends on ``seed`` and the epoch's number alone, so that a
    loader which was given the state of another goes on with the very next batch.

    Args:
        split: the samples.
        inputs: "tokens" gives int64 ids, "values" bytes scaled to [−1, 1].
        batch_size: samples in a batch.
        shuffle: draw an order for every epoch; else the order of the store.
        seed: seed of the orders.
    """

    def __init__(
        self, split: Split, inputs: Literal["tokens", "values"], batch_size: int, *, shuffle: bool, seed: int = 0
    ) -> None:
        self.split = split
        self.inputs = inputs
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self._epoch = 0
        self._position = 0  # batches of this epoch that have been yielded
        self._resumed = False

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.split) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        # A generator: this body first runs when a batch is asked for, so a spare iter() costs no epoch.
        if self._position and not self._resumed:  # the pass before was left early
            self._epoch, self._position = self._epoch + 1, 0
        self._resumed = False
        order = self._order()
        for index in range(self._position, len(self)):
            batch = self._collate(order[index * self.batch_size : (index + 1) * self.batch_size])
            self._position = index + 1
            if self._position == len(self):  # a state taken at the last batch is the start of the next epoch
                self._epoch, self._position = self._epoch + 1, 0
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Where the next batch comes from: the epoch, and the number of its batches already yielded."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next pass go on from ``state``, taken from a loader with the same split, batch size and seed.

        Raises:
            TaskError: the state lies beyond the last batch, as one of smaller batches may.
        """
        if state["position"] > max(0, len(self) - 1):
            raise TaskError(
                f"The saved state stands at batch {state['position']} where an epoch has {len(self)}: resume with "
                "the batch size and the data that it was saved with."
            )
        self._epoch, self._position = state["epoch"], state["position"]
        self._resumed = True

    def _order(self) -> np.ndarray:
        if not self.shuffle:
            return np.arange(len(self.split))
        return np.random.default_rng([self.seed, self._epoch]).permutation(len(self.split))

    def _collate(self, samples: np.ndarray) -> Batch:
        split = self.split
        starts = split.offsets[samples]
        lengths = split.offsets[samples + 1] - starts
        padded = np.zeros((len(samples), lengths.max(initial=0)), split.tokens.dtype)
        for row, start, length in zip(padded, starts.tolist(), lengths.tolist(), strict=True):
            row[:length] = split.tokens[start : start + length]
        return Batch(self._inputs(padded), torch.from_numpy(lengths), torch.from_numpy(split.labels[samples]).long())

    def _inputs(self, padded: np.ndarray) -> torch.Tensor:
        if self.inputs == "values":
            return torch.from_numpy(padded).float().div_(127.5).sub_(1.0)
        return torch.from_numpy(padded.astype(np.int64))
