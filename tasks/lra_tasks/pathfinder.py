"""Pathfinder and Path-X: do two marked ends lie on one dashed path? (Linsley et al. 2018; Tay et al. 2021)."""

from dataclasses import dataclass, replace
from typing import ClassVar

from lra_tasks import cards
from lra_tasks.card import Scale, TaskSpec
from lra_tasks.datamodule import LRATask
from lra_tasks.pathfinder_parameters import PRESETS, PathfinderParameters
from lra_tasks.store import StoreWriter

_CHUNK = 1024  # images in memory at a time: 16 MiB of Path-X


@dataclass(frozen=True)
class PathfinderScale(Scale):
    """Split sizes and what the images are made of."""

    images: PathfinderParameters


class Pathfinder(LRATask):
    """Gray images as sequences of pixels, row by row, stored as bytes and served in [−1, 1] (protocol s4)."""

    name = "pathfinder"
    card = cards.PATHFINDER
    scales: ClassVar[dict[str, PathfinderScale]] = {
        "full": PathfinderScale(160_000, 20_000, 20_000, PRESETS[32]),
        "small": PathfinderScale(16_000, 2_000, 2_000, PRESETS[32]),
        "tiny": PathfinderScale(20_000, 2_000, 2_000, replace(PRESETS[16], window=14, contour_length=3)),
    }

    @property
    def spec(self) -> TaskSpec:
        """Every input has one step for each pixel."""
        return TaskSpec(self.name, "values", 0, self.card.classes, self.scales[self.scale].images.window ** 2)

    def build(self, out: StoreWriter) -> None:
        """Fill train, val and test with consecutive images of one stream."""
        from lra_tasks.pathfinder_generator import generate

        scale = self.scales[self.scale]
        begin = 0
        for split, size in scale.sizes.items():
            for first in range(0, size, _CHUNK):
                count = min(_CHUNK, size - first)
                out[split].extend(*generate(scale.images, self.seed, begin + first, count, self.workers))
            begin += size


class PathX(Pathfinder):
    """Pathfinder with 16,384 pixels, and with longer and straighter dashes."""

    name = "pathx"
    card = cards.PATHX
    scales: ClassVar[dict[str, PathfinderScale]] = {
        "full": PathfinderScale(160_000, 20_000, 20_000, PRESETS[128]),
        "small": PathfinderScale(16_000, 2_000, 2_000, PRESETS[128]),
        "tiny": PathfinderScale(20_000, 2_000, 2_000, replace(PRESETS[32], contour_length=6, distractors=2)),
    }
