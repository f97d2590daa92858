"""The contract of a task: a LightningDataModule that builds a store once and serves it in batches.

A task of your own is a subclass with a name, a card, named scales, a spec, and ``build``; see tasks/README.md.
"""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import platformdirs
from lightning.pytorch import LightningDataModule

from lra_tasks.card import Scale, TaskCard, TaskSpec
from lra_tasks.errors import TaskError, nearest
from lra_tasks.loader import BatchLoader
from lra_tasks.store import Progress, Split, Store, StoreWriter, prepare, recipe_hash

if TYPE_CHECKING:
    from rich.console import RenderableType


class LRATask(LightningDataModule):
    """A classification task over long sequences.

    Subclasses define ``name``, ``card``, ``scales``, ``spec`` and ``build``.

    Args:
        scale: named size of the task.
        protocol: line of published code whose encoding, lengths and splits are used.
        seed: seed of generated samples.
        data_dir: folder of prepared tasks; None: $LRA_DATA, else the user's cache folder.
        workers: threads that generate samples, 0 for one each core; the samples do not depend on it.
        batch_size: samples in a training batch.
        eval_batch_size: samples in a batch of val or test; None: as batch_size.
        order_seed: seed of the order of training samples.

    Raises:
        TaskError: an argument that this task does not know.
    """

    name: str
    card: ClassVar[TaskCard]
    scales: ClassVar[dict[str, Any]]  # name -> an instance of Scale or of a subclass with the generator's parameters

    def __init__(
        self,
        *,
        scale: str = "full",
        protocol: str = "s4",
        seed: int = 0,
        data_dir: str | Path | None = None,
        workers: int = 0,
        batch_size: int = 32,
        eval_batch_size: int | None = None,
        order_seed: int = 0,
    ) -> None:
        super().__init__()
        if scale not in self.scales:
            known = ", ".join(self.scales)
            raise TaskError(f"{self.name} has no scale {scale!r}; it has {known}.{nearest(scale, self.scales)}")
        self.card.protocol(protocol)
        for option, value, least in (
            ("seed", seed, 0),
            ("workers", workers, 0),
            ("batch_size", batch_size, 1),
            ("eval_batch_size", batch_size if eval_batch_size is None else eval_batch_size, 1),
            ("order_seed", order_seed, 0),
        ):
            if value < least:
                raise TaskError(f"{option} must be {least} or more, not {value}.")
        self.scale = scale
        self.protocol = protocol
        self.seed = seed
        self.workers = workers
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.order_seed = order_seed
        self.data_dir = Path(data_dir or os.environ.get("LRA_DATA") or platformdirs.user_cache_path("lra-tasks"))
        self._store: Store | None = None

    @property
    def spec(self) -> TaskSpec:
        """Shape of the samples at this scale and protocol."""
        raise NotImplementedError

    def build(self, out: StoreWriter) -> None:
        """Append every sample of every split to ``out``, the same ones for the same scale, protocol and seed."""
        raise NotImplementedError

    def render(self, sample: np.ndarray) -> "RenderableType":
        """Return what a terminal shows of one sample of tokens; here its ids."""
        return " ".join(map(str, sample.tolist()))

    @property
    def parameters(self) -> Scale:
        """Split sizes and generator parameters of the chosen scale."""
        return self.scales[self.scale]

    @property
    def folder(self) -> Path:
        """Where the prepared task is, or will be."""
        recipe = f"{self.protocol}-{self.scale}-seed{self.seed}-{recipe_hash(self._recipe())}"
        return self.data_dir / self.name / recipe

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the samples and the protocol."""
        return self.store.fingerprint

    @property
    def store(self) -> Store:
        """The opened store.

        Raises:
            TaskError: :meth:`setup` has not been called.
        """
        if self._store is None:
            raise TaskError(f"The task {self.name} is not set up: call prepare_data() and setup() first.")
        return self._store

    def split(self, name: str) -> Split:
        """Return the stored samples of "train", "val" or "test"."""
        return self.store.splits[name]

    def prepare_data(self, progress: Progress | None = None) -> None:
        """Build the task unless it is there; ``progress`` is called with (samples done, samples in all).

        Raises:
            TaskError: the data folder cannot be written.
        """
        dtype = np.dtype(np.uint16 if self.spec.vocab_size > 256 else np.uint8)
        prepare(self.folder, self._recipe(), self.parameters.sizes, dtype, self.build, progress)

    def setup(self, stage: str | None = None) -> None:
        """Open the prepared task (all splits, whatever the stage).

        Raises:
            TaskError: it is not prepared, or its files are damaged.
        """
        if self._store is not None:
            return
        if not self.folder.exists():
            raise TaskError(f"The task {self.name} is not prepared in {self.folder}: call prepare_data() first.")
        self._store = Store.open(self.folder)

    def train_dataloader(self) -> BatchLoader:
        """Batches of the training split, in a new order each epoch."""
        return BatchLoader(self.split("train"), self.spec.inputs, self.batch_size, shuffle=True, seed=self.order_seed)

    def val_dataloader(self) -> BatchLoader:
        """Batches of the validation split, in the order of the store."""
        return self._evaluation("val")

    def test_dataloader(self) -> BatchLoader:
        """Batches of the test split, in the order of the store."""
        return self._evaluation("test")

    def _evaluation(self, split: str) -> BatchLoader:
        return BatchLoader(self.split(split), self.spec.inputs, self.eval_batch_size or self.batch_size, shuffle=False)

    def _recipe(self) -> dict[str, Any]:
        """All that decides the samples."""
        return {
            "task": self.name,
            "version": self.card.version,
            "protocol": self.protocol,
            "spec": asdict(self.spec),
            "scale": self.scale,
            "parameters": asdict(self.parameters),
            "seed": self.seed,
        }
