"""Checks of what long inputs cost."""

import math

import torch
from torch import Tensor

from lra_hgrn.contract.subject import Subject
from lra_hgrn.contract.tools import train_step
from lra_tasks.findings import Broken, need

LONGEST = 16_384  # Path-X
_SHORT, _LONG = 1024, 4096  # squares; past the blocks and ranks of everyone
_LINEAR = 1.2  # largest exponent that passes for linear


def memory_growth(subject: Subject) -> str:
    """What training keeps for the backward pass grows with the length as the model's card says."""
    kept = [_kept(subject, length) for length in (_SHORT, _LONG)]
    exponent = math.log(kept[1] / kept[0]) / math.log(_LONG / _SHORT)
    if subject.card is not None and subject.card.memory == "L":
        need(exponent < _LINEAR, f"Its memory grows as L^{exponent:.2f}, and its card says L.")
    return f"training keeps {kept[1] / _LONG / 1024:.1f} KiB a step at {_LONG:,} steps, growing as L^{exponent:.2f}"


def _kept(subject: Subject, length: int) -> int:
    """Return the bytes that autograd keeps of one sample, parameters and each storage counted once."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    net = subject.build(length)
    own = {parameter.untyped_storage().data_ptr() for parameter in (*net.parameters(), *net.buffers())}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        train_step(subject, net, length, batch=1)
    return max(1, sum(size for pointer, size in storages.items() if pointer not in own))


def long_input(subject: Subject) -> str:
    """One sample of the longest task goes through, forwards and backwards."""
    net = subject.build(LONGEST)
    try:
        output, gradient = train_step(subject, net, LONGEST, batch=1)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise Broken(f"There is not enough memory for {LONGEST:,} steps.") from error
    need(output.isfinite().all(), f"The output of {LONGEST:,} steps is not finite.")
    broken = [name for name, value in gradient.items() if not value.isfinite().all()]
    need(not broken, f"The gradient of {', '.join(broken)} is not finite at {LONGEST:,} steps.")
    return f"{LONGEST:,} steps are finite, and so are their gradients"
