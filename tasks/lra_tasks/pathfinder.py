"""Pathfinder and Path-X: do two marked ends lie on one dashed path? (Linsley et al. 2018; Tay et al. 2021)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from lra_tasks import cards
from lra_tasks.card import Scale, TaskSpec, image_spec
from lra_tasks.datamodule import LRATask
from lra_tasks.errors import TaskError
from lra_tasks.original import original_members, place, random_split
from lra_tasks.pathfinder_parameters import PRESETS, PathfinderParameters
from lra_tasks.store_writer import StoreWriter

_CHUNK, _CHUNK_BYTES = 1 << 10, 1 << 24  # images, and bytes of them, in memory at a time


@dataclass(frozen=True)
class PathfinderScale(Scale):
    """Split sizes and what the images are made of."""

    images: PathfinderParameters


class Pathfinder(LRATask):
    """Gray images as sequences of pixels, row by row: as values in [−1, 1] (protocol s4) or ids (google)."""

    name = "pathfinder"
    card = cards.PATHFINDER
    scales: ClassVar[dict[str, PathfinderScale]] = {
        "full": PathfinderScale(160_000, 20_000, 20_000, PRESETS[32]),
        "tenth": PathfinderScale(16_000, 2_000, 2_000, PRESETS[32]),
        "small": PathfinderScale(16_000, 2_000, 2_000, PRESETS[32]),
        "tiny": PathfinderScale(20_000, 2_000, 2_000, replace(PRESETS[16], window=14, contour_length=3)),
        # Beyond the Long Range Arena's table.
        "64": PathfinderScale(160_000, 20_000, 20_000, PRESETS[64]),
        # For speed and memory against length, named by their steps; so few images are learnt by heart.
        "few-256": PathfinderScale(64, 32, 32, PRESETS[16]),
        "few-1k": PathfinderScale(64, 32, 32, PRESETS[32]),
        "few-4k": PathfinderScale(64, 32, 32, PRESETS[64]),
    }

    @property
    def spec(self) -> TaskSpec:
        """Every input has one step for each pixel."""
        side = self.scales[self.scale].images.window
        vocab_size = self.card.protocol(self.protocol).vocab_size
        return image_spec(self.name, vocab_size, self.card.classes, side)

    def build(self, out: StoreWriter) -> None:
        """Fill train, val and test with consecutive images of one generated stream, or from the original files."""
        if self.source != "generated":
            self._read(out)
            return
        begin = 0
        for split, size in self.sizes.items():
            for images, labels in self._generated(begin, size):
                out[split].extend(images, labels)
            begin += size

    def write_miniature(self, path: Path) -> None:
        """The same images as the generated ones, in the published layout."""
        from lra_tasks.pathfinder_files import write_files

        write_files(path, self.scales[self.scale].images, self._generated(0, sum(self.sizes.values())))

    @property
    def _chunk(self) -> int:
        return max(1, min(_CHUNK, _CHUNK_BYTES // self.spec.max_length))

    def _generated(self, begin: int, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        from lra_tasks.pathfinder_generator import generate

        for first in range(begin, begin + count, self._chunk):
            size = min(self._chunk, begin + count - first)
            yield generate(self.scales[self.scale].images, self.seed, first, size, self.workers)

    def _read(self, out: StoreWriter) -> None:
        from lra_tasks.pathfinder_files import others, read_files

        scale, published = self.scales[self.scale], None
        if self.source == "official":
            published = self.card.train + self.card.val + self.card.test
            if scale.images != self.scales["full"].images:
                raise TaskError(
                    f"The official images of {self.card.title} are not of scale {self.scale}: set task.scale=full."
                )
        side = scale.images.window
        out.scratch.mkdir(exist_ok=True)
        spool = out.scratch / "images.bin"
        with original_members(self, out.scratch, skip=others(side)) as members:
            places, labels = read_files(members, side, spool, place(self), published)
        needed = sum(self.sizes.values())
        if len(labels) < needed or (published is not None and len(labels) != published):
            raise TaskError(
                f"{place(self)} has {len(labels):,} images where {published or needed:,} are needed: give all of "
                f"pathfinder{side}."
            )
        images = np.memmap(spool, np.uint8, "r").reshape(-1, side**2)
        order = random_split(len(labels)) if self.protocol == "s4" else np.arange(len(labels))
        end = 0
        for split, size in self.sizes.items():
            begin, end = end, end + len(labels) * size // needed
            chosen = order[begin : begin + size]
            for first in range(0, size, self._chunk):
                part = chosen[first : first + self._chunk]
                out[split].extend(images[places[part]], labels[part])


class PathX(Pathfinder):
    """Pathfinder with 16,384 pixels, and with longer and straighter dashes."""

    name = "pathx"
    card = cards.PATHX
    scales: ClassVar[dict[str, PathfinderScale]] = {
        "full": PathfinderScale(160_000, 20_000, 20_000, PRESETS[128]),
        "tenth": PathfinderScale(16_000, 2_000, 2_000, PRESETS[128]),
        "small": PathfinderScale(16_000, 2_000, 2_000, PRESETS[128]),
        "tiny": PathfinderScale(10_000, 1_000, 2_000, replace(PRESETS[16], window=20, contour_length=4, distractors=1)),
        # Beyond the Long Range Arena's table: Path-256.
        "256": PathfinderScale(160_000, 20_000, 20_000, PRESETS[256]),
        # For speed and memory, after Pathfinder's few-4k.
        "few-16k": PathfinderScale(64, 32, 32, PRESETS[128]),
    }
