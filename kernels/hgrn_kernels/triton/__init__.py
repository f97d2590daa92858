"""The Triton backend: kernels for NVIDIA GPUs, or for CPU tensors under TRITON_INTERPRET=1 (slow, for tests).

triton is imported when the first kernel is launched.
"""

import os

import torch

from hgrn_kernels.triton.norm import gated_norm
from hgrn_kernels.triton.recurrence import recurrence

__all__ = ["device_type", "gated_norm", "recurrence"]


def device_type() -> str:
    """Return the type of device on which the kernels run in this process: "cuda", or "cpu" if interpreted.

    AMD's GPUs, which torch calls "cuda" as well, have another instruction set: "hip" is the device of no tensor.
    """
    if os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes", "y"):
        return "cpu"
    return "cuda" if torch.version.hip is None else "hip"
