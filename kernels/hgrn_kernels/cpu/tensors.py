"""What the kernels are told of tensors, and over how many threads work is spread."""

import torch
from torch import Tensor

_GRAIN = 16384  # elements that are worth a thread of their own: some 20 microseconds


def workers(elements: int) -> int:
    """Return the number of threads to work on so many elements."""
    return max(1, min(torch.get_num_threads(), elements // _GRAIN))


def in_rows(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the tensor in that dtype with each row contiguous, which a slice or a transpose already is."""
    tensor = tensor.to(dtype)
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def address(tensor: Tensor | None, row: int = 0) -> int:
    """Return where a row of a contiguous tensor lies; 0 for a tensor without elements."""
    if tensor is None or tensor.numel() == 0:
        return 0
    return tensor.data_ptr() + row * tensor.stride(0) * tensor.element_size()
