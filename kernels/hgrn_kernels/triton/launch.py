"""From torch tensors to a kernel: one dtype, rows at one distance, the right device."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


def common_dtype(first: Tensor, second: Tensor) -> torch.dtype:
    """Return the dtype in which the kernels read and write both."""
    dtype = torch.promote_types(first.dtype, second.dtype)
    if dtype == torch.float64:
        raise TypeError("The triton backend computes in float32: pass float32 tensors or backend='reference'.")
    return dtype


def rows(tensor: Tensor, dtype: torch.dtype) -> tuple[Tensor, int]:
    """Return the tensor as (rows, channels) in that dtype, channels side by side, and the distance between rows.

    Nothing is copied where a view of a wider tensor, or an expanded one, has that already.
    """
    tensor = tensor.to(dtype)
    flat = tensor.reshape(-1, tensor.shape[-1])
    if flat.stride(1) != 1 and flat.shape[1] > 1:
        tensor = flat = flat.contiguous()
    # Of a single row what torch would say next to other rows, so that no kernel is compiled just for it.
    return flat, flat.stride(0) if flat.shape[0] > 1 or tensor.ndim < 2 else tensor.stride(-2)


def processors(device: torch.device) -> int:
    """Return the number of multiprocessors; 1 under the interpreter, which runs one program after the other."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


_recorded: list[tuple[Any, dict[str, Any], dict[str, Any]]] | None = None


@contextlib.contextmanager
def recording() -> Iterator[list[tuple[Any, dict[str, Any], dict[str, Any]]]]:
    """Collect launches (kernel, arguments, options) instead of running them: `compiled` compiles them without a GPU."""
    global _recorded
    _recorded = []
    try:
        yield _recorded
    finally:
        _recorded = None


def launch(kernel: Any, programs: int, device: torch.device, given: dict[str, Any], **options: Any) -> None:
    """Run so many programs of a kernel, with those of the given arguments that it takes."""
    arguments = {name: given[name] for name in kernel.arg_names}
    if _recorded is not None:
        _recorded.append((kernel, arguments, options))
        return
    with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
        kernel[(programs,)](**arguments, **options)
