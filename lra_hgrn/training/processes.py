"""Several processes that share each batch: who this one is, and what all of them have to agree on.

Everything here goes through main memory (gloo), so that no GPU is waited for, and does nothing where there is one
process.
"""

import os
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from lra_hgrn.errors import UserError


class Place(NamedTuple):
    """Which process of how many this is."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0  # on its machine
    local_size: int = 1

    @property
    def first(self) -> bool:
        """Whether it is the one that writes and tells."""
        return self.rank == 0


def place_from_environment(devices: int) -> Place | None:
    """Return the place that torchrun, or `lra_hgrn.training.ranks`, gave this process; None if it was given none.

    Raises:
        UserError: they started another number on a machine than ``train.devices`` says.
    """
    words = [os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")]
    if None in words:
        return None
    place = Place(*(int(word) for word in words if word is not None))
    if devices not in (1, place.local_size):
        raise UserError(f"train.devices={devices}, but {place.local_size} processes were started: leave it out.")
    return place


def world_size() -> int:
    """Return how many processes there are."""
    return dist.get_world_size() if _several() else 1


def any_of(flag: bool) -> bool:
    """Whether the flag is set in any of the processes; all of them have to ask."""
    return flag if not _several() else bool(total([int(flag)])[0])


def total(numbers: list[int]) -> list[int]:
    """Return the sums over the processes, each of which has to ask."""
    if not _several():
        return numbers
    summed = torch.tensor(numbers, dtype=torch.int64)
    dist.all_reduce(summed, group=_group())
    return summed.tolist()


def gathered(own: Any) -> list[Any]:
    """Return what each of the processes has, in order of rank; all of them have to ask."""
    if not _several():
        return [own]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, own, group=_group())
    return found


def leave() -> None:
    """End the group, so that a later run of this process can make one of its own."""
    if dist.is_available() and dist.is_initialized():
        _group.cache_clear()
        dist.destroy_process_group()


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@cache
def _group() -> Any:
    return dist.new_group(backend="gloo")
