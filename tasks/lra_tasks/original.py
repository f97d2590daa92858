"""The original files of a task, wherever they come from, as a stream of members; and what readers of them share."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lra_tasks.archive import Member, open_members, stream_members
from lra_tasks.errors import TaskError

if TYPE_CHECKING:
    from lra_tasks.datamodule import LRATask

S4_SEED = 42  # of the random splits of the S4 line of code


@contextlib.contextmanager
def original_members(task: "LRATask", scratch: Path, skip: str = "") -> Iterator[Iterator[Member]]:
    """Open the original files of a task.

    These are a miniature that is written for the occasion, what the user has named, or the card's archive, from the
    network: kept among the downloads, or read while it passes by where it is too large to keep.

    Args:
        task: with its source and origin set.
        scratch: folder that may be made and filled; it goes when the store is complete.
        skip: regular expression of folder names that hold nothing of the task.

    Raises:
        TaskError: the files cannot be had or read.
    """
    from lra_tasks.download import fetch, stream

    archive = task.card.archive
    if task.source == "mini":
        scratch.mkdir(exist_ok=True)
        path = scratch / "miniature"
        task.write_miniature(path)
    elif task.origin is not None:
        path = task.origin
    elif task.source == "folder" or archive is None:
        raise TaskError(
            f"{task.name} with source {task.source} is read from files of yours: name them with `lra data prepare "
            f"{task.name} task.source={task.source} --from FILE_OR_FOLDER`."
        )
    elif archive.passing:
        with stream(archive, task.download_progress) as body, stream_members(body, archive.url) as members:
            yield members
        return
    else:
        path = fetch(archive, task.downloads, task.download_progress)
    with open_members(path, skip=skip) as members:
        yield members


def place(task: "LRATask") -> str:
    """Return where the original files of a task are, for messages."""
    if task.source == "mini":
        return "the miniature"
    return str(task.origin or (task.card.archive.filename if task.card.archive else task.source))


def decoded(data: bytes, where: str) -> str:
    """Decode UTF-8.

    Raises:
        TaskError: naming the place, where the bytes are no UTF-8.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TaskError(f"{where} is not UTF-8 at byte {error.start}: take the files as they were published.") from None


def drawn(count: int, seed: list[int]) -> np.ndarray:
    """Return a random order of ``count`` samples, (count,) int64, that depends on the seed alone."""
    return np.random.default_rng(seed).permutation(count)


def random_split(count: int) -> np.ndarray:
    """Return the order of samples that ``torch.utils.data.random_split`` cuts its splits from, with S4's seed."""
    import torch

    return torch.randperm(count, generator=torch.Generator().manual_seed(S4_SEED)).numpy()
