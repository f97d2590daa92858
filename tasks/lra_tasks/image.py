"""Image: what does a photograph show, pixel by pixel? (CIFAR-10, Krizhevsky 2009; Tay et al. 2021)."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from lra_tasks import cards
from lra_tasks.augment import crops_and_flips
from lra_tasks.card import Scale, TaskSpec, image_spec
from lra_tasks.cifar import read_batch
from lra_tasks.datamodule import LRATask
from lra_tasks.errors import TaskError
from lra_tasks.original import drawn, original_members, place, random_split
from lra_tasks.pixels import decode_image, gray_pillow, gray_tensorflow
from lra_tasks.store_writer import StoreWriter

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32
PADDING = 4  # pixels beyond each edge that a random crop reaches
# Mean and deviation of red, green and blue in [0, 1], as the S4 line of code writes them.
_RGB_MEAN, _RGB_SD = (0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)
_BATCH = re.compile(r"(?:^|/)(data_batch_[1-5]|test_batch)$")
_FILE = re.compile(rf"(?:^|/)(train|test)/({'|'.join(CLASSES)})/([^/]+)\.(?:png|jpe?g)$", re.IGNORECASE)
_CHUNK = 1_000  # images in wider types at a time
_LARGEST_BATCH = 1 << 28  # bytes; the published ones have 31 MB
_LARGEST_FILE = 1 << 20

Images = tuple[np.ndarray, np.ndarray]  # (n, 32, 32, 3) uint8 RGB and (n,) int64 labels


@dataclass(frozen=True)
class ImageScale(Scale):
    """Split sizes, and how coarse the images are."""

    pool: int = 1  # side of the squares of pixels that are averaged to one step


class Image(LRATask):
    """CIFAR-10 row by row: in gray as values (protocol s4) or ids (google), or in colour as values (s4-rgb)."""

    name = "image"
    card = cards.IMAGE
    augmentation = "Training images are cropped and flipped at random."
    scales: ClassVar[dict[str, ImageScale]] = {
        "full": ImageScale(45_000, 5_000, 10_000),
        "tenth": ImageScale(4_500, 500, 1_000),
        "small": ImageScale(9_000, 1_000, 2_000),
        "tiny": ImageScale(9_000, 1_000, 2_000, pool=2),
    }

    @property
    def spec(self) -> TaskSpec:
        """Every input has one step for each pixel."""
        side = SIDE // self.scales[self.scale].pool
        vocab_size = self.card.protocol(self.protocol).vocab_size
        if self._in_colour:
            shift, scale = (tuple(255 * value for value in values) for values in (_RGB_MEAN, _RGB_SD))
            return image_spec(self.name, 0, self.card.classes, side, shift=shift, scale=scale, channels=3)
        return image_spec(self.name, vocab_size, self.card.classes, side, shift=122.6, scale=61.0)

    @property
    def rule_departures(self) -> list[str]:
        """As for other tasks, and that images are in colour."""
        return [*super().rule_departures, *(["Images are in colour."] if self._in_colour else [])]

    def variants(self) -> np.ndarray:
        """Return the crops and flips of an image; where pixels are averaged, crops reach as far in the photograph."""
        pool = self.scales[self.scale].pool
        return crops_and_flips(SIDE // pool, PADDING // pool)

    def build(self, out: StoreWriter) -> None:
        """Cut the training images in train and val as the protocol does, and take each split's first ones."""
        train, test = self._read(out.scratch)
        scale = self.scales[self.scale]
        count = len(train[1])
        order = np.arange(count) if self.protocol == "google" else random_split(count)
        fitted = count * self.card.train // (self.card.train + self.card.val)
        tested = np.arange(scale.test) if scale.test == len(test[1]) else drawn(len(test[1]), [self.seed])
        for split, (images, labels), chosen in (
            ("train", train, order[:fitted]),
            ("val", train, order[fitted:]),
            ("test", test, tested),
        ):
            chosen = chosen[: scale.sizes[split]]
            for first in range(0, len(chosen), _CHUNK):
                part = chosen[first : first + _CHUNK]
                out[split].extend(self._steps(images[part]), labels[part])

    def write_miniature(self, path: Path) -> None:
        """Generated shapes in the published layout."""
        from lra_tasks.mini_shapes import write_images

        scale = self.scales[self.scale]
        write_images(path, {"train": scale.train + scale.val, "test": scale.test}, self.seed)

    @property
    def _in_colour(self) -> bool:
        return self.protocol == "s4-rgb"

    def _steps(self, images: np.ndarray) -> np.ndarray:
        """Return what is stored of photographs (n, 32, 32, 3): (n, side, side, channels) uint8."""
        pixels = images
        if not self._in_colour:
            pixels = gray_tensorflow(images) if self.protocol == "google" else gray_pillow(images)
        pool = self.scales[self.scale].pool
        blocks = pixels.reshape(len(pixels), SIDE // pool, pool, SIDE // pool, pool, -1)
        return np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8)

    def _read(self, scratch: Path) -> tuple[Images, Images]:
        """Return the training and the test images, in the order of the batches or of the classes' files."""
        found: dict[str, list[Images]] = {}
        with original_members(self, scratch) as members:
            for member in members:
                where = f"{member.name} in {place(self)}"
                if self.source == "folder":
                    if match := _FILE.search(member.name):
                        split, kind, number = match.groups()
                        image = decode_image(member.read(_LARGEST_FILE), SIDE, "RGB", where)
                        found[f"{split}/{CLASSES.index(kind.lower())}/{number:>20}"] = [
                            (image[None], np.array([CLASSES.index(kind.lower())]))
                        ]
                elif match := _BATCH.search(member.name):
                    split = "test" if match[1] == "test_batch" else "train"
                    found[f"{split}/{match[1]}"] = [read_batch(member.read(_LARGEST_BATCH), where)]
        return self._joined("train", found), self._joined("test", found)

    def _joined(self, split: str, found: dict[str, list[Images]]) -> Images:
        parts = [part for name in sorted(found) if name.startswith(split) for part in found[name]]
        images = np.concatenate([part[0] for part in parts]) if parts else np.empty((0, SIDE, SIDE, 3), np.uint8)
        labels = np.concatenate([part[1] for part in parts]) if parts else np.empty(0, np.int64)
        published = {"train": self.card.train + self.card.val, "test": self.card.test}[split]
        sizes = self.scales[self.scale].sizes
        needed = sizes["train"] + sizes["val"] if split == "train" else sizes["test"]
        if len(labels) < needed or (self.source == "official" and len(labels) != published):
            files = "train/CLASS/*.png" if self.source == "folder" else "data_batch_1 to _5 and test_batch"
            raise TaskError(
                f"{place(self)} holds {len(labels):,} {split} images where CIFAR-10 has {published:,}: give the "
                f"whole of it ({files})."
            )
        return images, labels
