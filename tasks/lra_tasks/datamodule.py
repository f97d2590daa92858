"""The contract of a task: a LightningDataModule that builds a store once and serves it in batches.

A task of your own is a subclass with a name, a card, named scales, a spec, and ``build``; see tasks/README.md.
"""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
import torch.distributed as dist
from lightning.pytorch import LightningDataModule

from lra_tasks.card import Scale, TaskCard, TaskSpec
from lra_tasks.errors import TaskError, nearest
from lra_tasks.holdings import DOWNLOADS, data_folder
from lra_tasks.loader import BatchLoader
from lra_tasks.resident import fits
from lra_tasks.store import Split, Store, prepare, recipe_hash
from lra_tasks.store_writer import Layout, StoreWriter

if TYPE_CHECKING:
    from rich.console import RenderableType

Progress = Callable[[str, int, int | None], None]  # ("download" or "prepare", bytes or samples done, in all)

_SOURCES = {
    "mini": "The data is a generated miniature of the task.",
    "folder": "The pixels were read from a folder of image files and may have been re-encoded.",
}
_GENERATED = "The samples are drawn anew from a seed; the published files were drawn without one."
_HELD_OUT = "A tenth of train is held out for validation; the published code validates on test."
_SELECTED_ON_TEST = "The checkpoint is selected on the test split, as in the published code."


class LRATask(LightningDataModule):
    """A classification task over long sequences.

    Subclasses define ``name``, ``card``, ``scales``, ``spec`` and ``build``.

    Args:
        scale: named size of the task.
        protocol: line of published code whose encoding, lengths and splits are used.
        source: what the task is made from; None: the first of the card's sources.
        selection: "strict" holds a validation split out of train where none is published; "published" selects on the
            test split there, as the published code does.
        seed: seed of generated samples and of splits that are drawn.
        data_dir: folder of prepared tasks; None: $LRA_DATA, else the user's cache folder.
        workers: threads that generate samples, 0 for one each core; the samples do not depend on it.
        batch_size: samples in a training batch, over all processes.
        eval_batch_size: samples in a batch of val or test; None: as batch_size.
        order_seed: seed of the order of training samples.
        bucket_batches: batches' worth of training samples that are sorted by length together; 0: none.
        augment: change training samples at random, as the task's `augmentation` says.
        device: GPU where the whole task is held and batches are cut, if it fits there; None: batches come from the
            files.

    Raises:
        TaskError: an argument that this task does not know.
    """

    name: str
    card: ClassVar[TaskCard]
    scales: ClassVar[dict[str, Any]]  # name -> an instance of Scale or of a subclass with the generator's parameters
    augmentation: ClassVar[str] = ""  # sentence: what becomes of training samples with ``augment``; "": there is none

    def __init__(
        self,
        *,
        scale: str = "full",
        protocol: str = "s4",
        source: str | None = None,
        selection: str = "strict",
        seed: int = 0,
        data_dir: str | Path | None = None,
        workers: int = 0,
        batch_size: int = 32,
        eval_batch_size: int | None = None,
        order_seed: int = 0,
        bucket_batches: int = 0,
        augment: bool = False,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        self.card.protocol(protocol)
        source = source or self.card.sources[0]
        for what, value, known in (
            ("scale", scale, tuple(self.scales)),
            ("source", source, self.card.sources),
            ("selection", selection, ("strict", "published")),
        ):
            if value not in known:
                names = ", ".join(known)
                raise TaskError(f"{self.name} has no {what} {value!r}; it has {names}.{nearest(value, known)}")
        for option, number, least in (
            ("seed", seed, 0),
            ("workers", workers, 0),
            ("batch_size", batch_size, 1),
            ("eval_batch_size", batch_size if eval_batch_size is None else eval_batch_size, 1),
            ("order_seed", order_seed, 0),
            ("bucket_batches", bucket_batches, 0),
        ):
            if number < least:
                raise TaskError(f"{option} must be {least} or more, not {number}.")
        if augment and not self.augmentation:
            raise TaskError(f"{self.name} has no augmentation: leave task.augment at false.")
        self.scale = scale
        self.protocol = protocol
        self.source = source
        self.selects_on_test = selection == "published" and not self.card.val
        self.seed = seed
        self.workers = workers
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.order_seed = order_seed
        self.bucket_batches = bucket_batches
        self.augment = augment
        self.device = device
        self.data_dir = data_folder(data_dir)
        self.origin: Path | None = None  # of the original files; None: the card's archive
        self.download_progress: Callable[[int, int | None], None] | None = None
        self._store: Store | None = None

    @property
    def spec(self) -> TaskSpec:
        """Shape of the samples at this scale and protocol."""
        raise NotImplementedError

    def build(self, out: StoreWriter) -> None:
        """Append every sample of every split to ``out``, the same ones for the same scale, protocol and seed."""
        raise NotImplementedError

    def write_miniature(self, path: Path) -> None:
        """Write an archive in the original format with generated content (source mini), for `build` to read."""
        raise NotImplementedError

    def variants(self) -> np.ndarray:
        """Return what `augmentation` makes of a sample of L steps, as one array for all calls: (V, L) int64.

        Step i of variant v is step ``variants[v, i]`` of what is stored. Training samples are served as one of them,
        drawn anew in each epoch from ``order_seed``, the epoch and the sample's number.
        """
        raise NotImplementedError

    def render(self, document: np.ndarray) -> "RenderableType":
        """Return what a terminal shows of one document of tokens; here its ids."""
        return " ".join(self.symbols(document))

    def symbols(self, document: np.ndarray) -> list[str]:
        """Return what each step of one document of tokens stands for, in a word or a character; here its id."""
        return list(map(str, document.tolist()))

    @property
    def parameters(self) -> Any:
        """Split sizes and parameters of the chosen scale: an instance of Scale or of the task's subclass of it."""
        return self.scales[self.scale]

    @property
    def sizes(self) -> dict[str, int]:
        """Samples in each split.

        Where no validation split is published, a tenth of train is held out for it, or, if the test split is
        validated on, val is empty here and :meth:`split` gives test in its place.
        """
        parameters: Scale = self.parameters
        if self.card.val or self.selects_on_test:
            return parameters.sizes
        held_out = parameters.train // 10
        return {"train": parameters.train - held_out, "val": held_out, "test": parameters.test}

    @property
    def dtype(self) -> np.dtype:
        """How steps are stored: uint8, or uint16 where ids go beyond 255."""
        return np.dtype(np.uint16 if self.spec.vocab_size > 256 else np.uint8)

    @property
    def departures(self) -> list[str]:
        """Where these data depart from the published code's, each one sentence."""
        found = list(self.card.protocol(self.protocol).departures)
        if self.source == "generated" and self.card.archive is not None:
            found.append(_GENERATED)
        if not (self.card.val or self.selects_on_test):
            found.append(_HELD_OUT)
        return found

    @property
    def rule_departures(self) -> list[str]:
        """What takes a result on this data out of the strict track, each one sentence."""
        source = [_SOURCES[self.source]] if self.source in _SOURCES else []
        augmented = [self.augmentation] if self.augment else []
        return [*source, *([_SELECTED_ON_TEST] if self.selects_on_test else []), *augmented]

    @property
    def folder(self) -> Path:
        """Where the prepared task is, or will be."""
        parts = [self.protocol, self.scale, self.source, *(["published"] if self.selects_on_test else [])]
        return self.data_dir / self.name / f"{'-'.join(parts)}-seed{self.seed}-{recipe_hash(self._recipe())}"

    @property
    def downloads(self) -> Path:
        """Folder of downloaded archives."""
        return self.data_dir / DOWNLOADS

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
        return self.store.splits["test" if name == "val" and self.selects_on_test else name]

    def prepare_data(self, progress: Progress | None = None, origin: Path | None = None) -> None:
        """Build the task unless it is there.

        Args:
            progress: called with ("download", bytes done, bytes in all or None) and ("prepare", samples done, in all).
            origin: file or folder to read the original files from, in place of a download.

        Raises:
            TaskError: the data folder cannot be written, the original files cannot be had, or they are not what the
                card says; or what was prepared before is damaged.
        """
        if origin is not None and self.source not in ("official", "folder"):
            raise TaskError(
                f"{self.name} is {self.source} and not read from {origin}: set task.source=official to read files."
                if "official" in self.card.sources
                else f"{self.name} is {self.source}: it is not read from files such as {origin}."
            )
        self.origin = origin
        self.download_progress = partial(progress, "download") if progress is not None else None
        samples = partial(progress, "prepare") if progress is not None else None
        spec = self.spec
        layout = Layout(self.sizes, self.dtype, spec.n_classes, spec.documents, spec.step_shape)
        folder = self.folder
        prepare(folder, self._recipe(), layout, self.build, samples)
        Store.open(folder).check()

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
        if self.device is not None and not fits(self._store.splits.values(), self.device):
            self.device = None

    def train_dataloader(self) -> BatchLoader:
        """Batches of the training split, in a new order each epoch."""
        return self._loader("train", self.batch_size, shuffle=True)

    def val_dataloader(self) -> BatchLoader:
        """Batches of the validation split, in the order of the store."""
        return self._loader("val", self.eval_batch_size or self.batch_size, shuffle=False)

    def test_dataloader(self) -> BatchLoader:
        """Batches of the test split, in the order of the store."""
        return self._loader("test", self.eval_batch_size or self.batch_size, shuffle=False)

    def _loader(self, split: str, batch_size: int, *, shuffle: bool) -> BatchLoader:
        spread = dist.is_available() and dist.is_initialized()
        return BatchLoader(
            self.split(split),
            self.spec,
            batch_size,
            shuffle=shuffle,
            seed=self.order_seed,
            bucket_batches=self.bucket_batches if shuffle else 0,
            variants=self.variants() if shuffle and self.augment else None,
            device=self.device,
            rank=dist.get_rank() if spread else 0,
            world_size=dist.get_world_size() if spread else 1,
        )

    def _recipe(self) -> dict[str, Any]:
        """All that decides the samples."""
        return {
            "task": self.name,
            "version": self.card.version,
            "protocol": self.protocol,
            "spec": self.spec.described(),
            "source": self.source,
            "scale": self.scale,
            "parameters": asdict(self.parameters),
            "sizes": self.sizes,
            "seed": self.seed,
        }
