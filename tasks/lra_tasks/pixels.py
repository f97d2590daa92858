"""Gray values of colour images as two libraries compute them, and images from their files."""

import io

import numpy as np
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from lra_tasks.errors import TaskError


def gray_pillow(images: np.ndarray) -> np.ndarray:
    """Return the luma of RGB images (..., 3) uint8, as Pillow's and torchvision's grayscale compute it: (...) uint8."""
    weights = np.array([19_595, 38_470, 7_471], np.uint32)  # ITU-R 601-2 in 1/65,536
    return ((images.astype(np.uint32) @ weights + 0x8000) >> 16).astype(np.uint8)


def gray_tensorflow(images: np.ndarray) -> np.ndarray:
    """Return the luma of RGB images (..., 3) uint8 as ``tf.image.rgb_to_grayscale`` computes it: (...) uint8.

    Its order of summation is not repeated: of a million random colours two differ, by 1.
    """
    scaled = images.astype(np.float32) * np.float32(1 / 255)
    gray = scaled @ np.array([0.2989, 0.5870, 0.1140], np.float32)
    return (gray * np.float32(255.5)).astype(np.uint8)


def decode_image(data: bytes, side: int, mode: str, where: str) -> np.ndarray:
    """Decode a PNG or JPEG of ``side`` × ``side`` pixels: (side, side) uint8 in mode "L", (side, side, 3) in "RGB".

    Raises:
        TaskError: naming the place, where the data are empty, no image, or of another size.
    """
    if not data:
        raise TaskError(f"The image {where} is empty: fetch the archive again.")
    try:
        with Pillow.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.size != (side, side):
                raise TaskError(f"The image {where} has {image.size} pixels and not {side} × {side}.")
            return np.asarray(image.convert(mode))
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Pillow.DecompressionBombError) as error:
        raise TaskError(f"The image {where} cannot be read ({error}): fetch the archive again.") from None
