"""Samples for the eye: a contact sheet of images, an expression as a tree with the value of every part."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw
from rich.text import Text
from rich.tree import Tree

from lra_tasks.errors import TaskError
from lra_tasks.listops_text import Node

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lra_tasks.datamodule import LRATask

_TILE = 128  # pixels; smaller images are enlarged to at least this
_CAPTION = 14
_GAP = 6


def _chosen(task: "LRATask", split: str, count: int, offset: int) -> Iterator[tuple[int, tuple[np.ndarray, ...], int]]:
    size = len(task.split(split))
    if count < 1 or not 0 <= offset < size:
        raise TaskError(
            f"Samples {offset} to {offset + count - 1} cannot be shown: the {split} split of {task.name} has numbers "
            f"0 to {size - 1}."
        )
    for index in range(offset, min(offset + count, size)):
        yield index, *task.split(split)[index]


def contact_sheet(
    task: "LRATask", path: str | os.PathLike[str], count: int = 16, *, split: str = "train", offset: int = 0
) -> None:
    """Write a PNG of ``count`` samples from number ``offset`` on, each with its number and label.

    Args:
        task: a task of images that has been set up.
        path: the PNG to write.

    Raises:
        TaskError: the task has no images, or no such samples.
    """
    side = task.spec.side
    if not side:
        raise TaskError(f"{task.name} has no images: show its samples as text.")
    tile = side * max(1, -(-_TILE // side))
    wide = tile * task.spec.documents  # side by side
    samples = list(_chosen(task, split, count, offset))
    columns = math.ceil(math.sqrt(len(samples)))
    rows = -(-len(samples) // columns)
    mode, white = ("RGB", (255, 255, 255)) if task.spec.channels == 3 else ("L", 255)
    sheet = Image.new(mode, (columns * (wide + _GAP) + _GAP, rows * (tile + _CAPTION + _GAP) + _GAP), white)
    draw = ImageDraw.Draw(sheet)
    for place, (index, documents, label) in enumerate(samples):
        left = _GAP + place % columns * (wide + _GAP)
        top = _GAP + place // columns * (tile + _CAPTION + _GAP)
        for nth, pixels in enumerate(documents):
            image = Image.fromarray(as_bytes(pixels).reshape(side, side, *task.spec.step_shape))
            sheet.paste(image.resize((tile, tile), Image.Resampling.NEAREST), (left + nth * tile, top))
        draw.text((left, top + tile + 1), f"{split} {index}: {label}", fill=0)
    target = Path(path)
    partial = target.with_name(target.name + ".partial")
    try:
        sheet.save(partial, format="PNG")
        os.replace(partial, target)
    except OSError as error:
        raise TaskError(f"The contact sheet cannot be written to {target} ({error}): choose another path.") from error


def as_bytes(pixels: np.ndarray) -> np.ndarray:
    """Return bytes as they are, and other values with the least as 0 and the greatest as 255: uint8."""
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    low, high = float(pixels.min()), float(pixels.max())
    return ((pixels.astype(np.float64) - low) * (255 / ((high - low) or 1))).astype(np.uint8)


def text_samples(
    task: "LRATask", count: int = 3, *, split: str = "train", offset: int = 0
) -> "Iterator[tuple[str, list[RenderableType]]]":
    """Yield a heading, and a rich renderable for each document, of ``count`` samples of a task of tokens."""
    if task.spec.inputs != "tokens":
        raise TaskError(f"{task.name} has values and no text.")
    for index, documents, label in _chosen(task, split, count, offset):
        steps = " and ".join(f"{len(document):,}" for document in documents)
        yield f"{split} {index}: label {label}, {steps} steps", [task.render(document) for document in documents]


def expression_tree(tree: int | Node, levels: int = 4) -> Tree:
    """Return a ListOps expression as a tree of operators, each with its arguments and its value.

    An argument that is itself an expression appears as its value in parentheses, and below as a branch; operators
    more than ``levels`` deep are left out.
    """
    branch = Tree(_line(tree))
    if isinstance(tree, Node):
        nested = [argument for argument in tree.arguments if isinstance(argument, Node)]
        if nested and levels == 1:
            branch.add(Text("…", style="dim"))
        else:
            branch.children.extend(expression_tree(argument, levels - 1) for argument in nested)
    return branch


def _line(tree: int | Node) -> Text:
    if isinstance(tree, int):
        return Text(str(tree))
    arguments = (str(part) if isinstance(part, int) else f"({part.value()})" for part in tree.arguments)
    return Text.assemble((tree.operator[1:], "bold"), " ", " ".join(arguments), " = ", (str(tree.value()), "bold"))
