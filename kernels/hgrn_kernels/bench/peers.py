"""What the kernels are measured beside, for scale: the same layer unfused, other libraries, softmax attention."""

import functools
import importlib
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from hgrn_kernels import scan
from hgrn_kernels.bench.turns import first_line

# name: module, function, how to install; all of them have real gates and run on a GPU only.
_LIBRARIES = {
    "fla fused_recurrent_hgrn": ("fla.ops.hgrn", "fused_recurrent_hgrn", "pip install fla-core"),
    "fla chunk_hgrn": ("fla.ops.hgrn", "chunk_hgrn", "pip install fla-core"),
    "accelerated_scan.warp": ("accelerated_scan.warp", "scan", "pip install accelerated-scan ninja (needs nvcc)"),
}


@functools.cache
def libraries(device_type: str) -> dict[str, Callable | str]:
    """Return the functions of other libraries; for each that is absent, why it is and what to do."""
    found: dict[str, Callable | str] = {}
    for name, (module, function, install) in _LIBRARIES.items():
        if device_type != "cuda":
            found[name] = f"runs on a GPU only; there: {install}"
            continue
        try:
            found[name] = getattr(importlib.import_module(module), function)
        except Exception as error:  # not installed, no compiler, a driver that is too old
            found[name] = f"{first_line(error)}: {install}"
    return found


def real_scans(x: Tensor, gate: Tensor) -> list[tuple[str, Callable[[], Tensor], list[Tensor]]]:
    """Return the other libraries' scans of x and gate (B, L, D): name, call, inputs with that of x's shape first.

    fla takes the gates' logarithms, accelerated_scan (B, D, L); neither conversion is timed.
    """
    log_gate = gate.detach().log().requires_grad_()
    x_t, gate_t = (t.detach().mT.contiguous().requires_grad_() for t in (x, gate))
    scans: list[tuple[str, Callable[[], Tensor], list[Tensor]]] = []
    for name, function in libraries(x.device.type).items():
        if isinstance(function, str):
            continue
        if name.startswith("fla"):
            scans.append((name, functools.partial(_states, function, x, log_gate), [x, log_gate]))
        else:
            scans.append((name, functools.partial(function, gate_t, x_t), [x_t, gate_t]))
    return scans


def _states(function: Callable[..., tuple[Tensor, Tensor]], x: Tensor, log_gate: Tensor) -> Tensor:
    return function(x, log_gate)[0]


def torch_scans(x: Tensor, gate: Tensor) -> list[tuple[str, Callable[[], Tensor], list[Tensor]]]:
    """Return ways to scan x and gate (B, L, D) in torch alone: name, call, inputs."""
    if x.device.type == "cuda":
        torch.compiler.reset()  # another shape is compiled anew, and torch counts how often it has done so
        associative = torch.compile(functools.partial(associative_scan, mode="pointwise"), fullgraph=True)
    else:
        associative = functools.partial(associative_scan, mode="generic")
    ways: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "plain loop (reference)": functools.partial(scan, backend="reference"),
        "blocked by √L (torch)": blocked_scan,
        "associative_scan (torch)": associative,
    }
    return [(name, functools.partial(way, x, gate), [x, gate]) for name, way in ways.items()]


def blocked_scan(x: Tensor, gate: Tensor) -> Tensor:
    """Compute `scan` of real x and gate in some 2 √L operations on tensors instead of L.

    The sequence is cut into blocks of ⌊√L⌋ steps. One loop runs inside all of them at once, each from a state of zero,
    and a second one from block to block; what enters a block then reaches each of its steps by the product of the
    gates up to there.

    Args:
        x, gate: (B, L, D), L ≥ 1.

    Returns:
        h, shaped and typed as x; the state is float32, or float64 for float64 inputs.
    """
    length = x.shape[1]
    steps = math.isqrt(length)
    blocks = -(-length // steps)
    rest = (0, 0, 0, blocks * steps - length)
    inputs, gates = (F.pad(_wide(t), rest).unflatten(1, (blocks, steps)).unbind(2) for t in (x, gate))
    states, products = [inputs[0]], [gates[0]]  # (B, blocks, D), one for each step of a block
    for t in range(1, steps):
        states.append(gates[t] * states[-1] + inputs[t])
        products.append(gates[t] * products[-1])
    last, whole = states[-1].unbind(1), products[-1].unbind(1)
    entering = [torch.zeros_like(last[0])]
    for block in range(blocks - 1):
        entering.append(whole[block] * entering[-1] + last[block])
    h = torch.stack(states, 2) + torch.stack(products, 2) * torch.stack(entering, 1).unsqueeze(2)
    return h.flatten(1, 2)[:, :length].to(x.dtype)


def associative_scan(x: Tensor, gate: Tensor, mode: str) -> Tensor:
    """Compute `scan` of real x and gate (B, L, D) by torch's associative scan, in the dtypes of `blocked_scan`.

    Args:
        mode: "generic" runs anywhere, "pointwise" on a GPU and compiled only.
    """
    # Not public in torch: where it has moved, this peer alone fails.
    from torch._higher_order_ops.associative_scan import associative_scan as torch_scan

    return torch_scan(_combine, (_wide(gate), _wide(x)), 1, combine_mode=mode)[1].to(x.dtype)


def _combine(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Compose two affine maps of the state, each a gate and an input: what two steps do."""
    return first[0] * second[0], second[0] * first[1] + second[1]


def _wide(t: Tensor) -> Tensor:
    return t.to(torch.promote_types(t.dtype, torch.float32))


def attention(x: Tensor) -> tuple[str, Callable[[], Tensor], list[Tensor]]:
    """Return softmax attention of the width of x, one head of 64 or heads of 32: name, call, inputs."""
    width = x.shape[-1]
    heads = 1 if width in (32, 64) else max(1, width // 32)
    split = x.detach().unflatten(-1, (heads, -1)).transpose(1, 2)
    q, k, v = (split.clone(memory_format=torch.contiguous_format).requires_grad_() for _ in range(3))
    name = f"softmax attention, {heads} × {width // heads}"
    return name, lambda: F.scaled_dot_product_attention(q, k, v), [q, k, v]


def unfused_layer(
    candidate: Tensor, forget: Tensor, bound: Tensor, theta: Tensor, output_gate: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """Compute a bidirectional layer as the authors' modules do, one operation after the other; the scans are `scan`.

    Everything is in the dtype of the activations, the fastest that this can be.
    """
    bound, weight, bias = (t.to(candidate.dtype) for t in (bound, weight, bias))
    gate = bound + (1 - bound) * forget.sigmoid()
    x = F.silu(candidate) * torch.cat([1 - gate, 1 - gate], dim=-1)
    if x.ndim == 3:
        h = _both_ways(x, gate, theta)
    else:
        h = _both_ways(x.flatten(0, 1), gate.flatten(0, 1), theta[:2]).view_as(x)
        x, gate = x.transpose(1, 2), gate.transpose(1, 2)
        h = h + _both_ways(x.flatten(0, 1), gate.flatten(0, 1), theta[2:]).view_as(x).transpose(1, 2)
    return F.layer_norm(h, weight.shape, weight, bias) * F.silu(output_gate)


def _both_ways(x: Tensor, gate: Tensor, theta: Tensor) -> Tensor:
    return scan(x, gate, theta=theta[0]) + scan(x, gate, theta=theta[1], reverse=True)
