"""The CPU operators inside torch: opcheck, torch.compile, checkpointing, autocast, functional transforms."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from hgrn_kernels import scan


def arguments(batch=2, length=11, channels=6, requires_grad=True):
    g = torch.Generator().manual_seed(3)
    shapes = [(batch, length, 2 * channels), (batch, length, channels), (channels,), (batch, 2 * channels)]
    return [torch.rand(shape, generator=g).requires_grad_(requires_grad) for shape in shapes]


def run(x, gate, theta, initial):
    h, final = scan(x, gate, theta=theta, initial_state=initial, return_final_state=True, backend="cpu")
    return h * 2, final


def step(function, tensors):
    """Outputs and gradients of one forward and backward pass."""
    h, final = function(*tensors)
    return [h, final, *torch.autograd.grad(h.square().sum() + final.sum(), tensors)]


def assert_same(actual, expected):
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_opcheck(reverse, requires_grad):
    x, gate, theta, initial = arguments()
    forward = torch.ops.hgrn_kernels.cpu_scan.default
    for inputs in (
        (x, gate, theta, initial, reverse),
        (x, gate, None, None, reverse),
        (x[..., :6], gate, None, initial[:, :6], reverse),
        (x.mT.contiguous().mT, gate.transpose(0, 1).contiguous().transpose(0, 1), theta, None, reverse),
    ):
        leaves = [t.detach().requires_grad_(requires_grad) if isinstance(t, torch.Tensor) else t for t in inputs]
        torch.library.opcheck(forward, leaves)


def test_opcheck_of_the_backward_operator():
    x, gate, theta, initial = arguments(requires_grad=False)
    backward = torch.ops.hgrn_kernels.cpu_scan_backward.default
    torch.library.opcheck(backward, (x, initial, x, gate, theta, initial, False))
    torch.library.opcheck(backward, (x, initial, x, gate, None, None, True))


@pytest.mark.parametrize("dynamic", [False, True])
def test_compile_makes_one_graph(dynamic):
    compiled = torch.compile(run, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    for length in (11, 12) if dynamic else (11,):
        tensors = arguments(length=length)
        assert_same(step(compiled, tensors), step(run, tensors))


def test_compile_honours_the_environment_variable(monkeypatch):
    monkeypatch.setenv("HGRN_BACKEND", "cpu")
    compiled = torch.compile(lambda x, gate: scan(x, gate) + 1, backend="aot_eager", fullgraph=True)
    x, gate, *_ = arguments(requires_grad=False)
    torch.testing.assert_close(compiled(x, gate), scan(x, gate, backend="reference") + 1)


def test_checkpointing_recomputes_the_same():
    tensors = arguments()
    assert_same(step(lambda *a: checkpoint(run, *a, use_reentrant=False), tensors), step(run, tensors))


def test_autocast_raises_to_float32_and_returns_the_input_dtype():
    x, gate, theta, initial = arguments(requires_grad=False)
    weight = torch.randn(12, 12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        projected = x @ weight
        assert projected.dtype == torch.bfloat16
        h, final = scan(projected, gate, theta=theta, initial_state=initial, return_final_state=True, backend="cpu")
    assert h.dtype == torch.bfloat16
    assert final.dtype == torch.float32
    expected, last = scan(
        projected.float(), gate, theta=theta, initial_state=initial, return_final_state=True, backend="cpu"
    )
    assert torch.equal(h, expected.bfloat16())
    assert torch.equal(final, last)


def test_vmap_is_refused_with_a_way_out():
    x, gate, _, _ = arguments(requires_grad=False)
    with pytest.raises(RuntimeError, match=r"does not work under torch\.func\.vmap; pass backend='reference'"):
        torch.func.vmap(lambda x: scan(x, gate, backend="cpu"))(torch.stack([x, x]))
    stacked = torch.func.vmap(lambda x: scan(x, gate, backend="reference"))(torch.stack([x, x]))
    torch.testing.assert_close(stacked[1], scan(x, gate, backend="cpu"))


def test_operators_refuse_what_only_scan_may_raise_to_float32():
    x, gate, _, _ = arguments(requires_grad=False)
    with pytest.raises(TypeError, match="all float32 or all float64"):
        torch.ops.hgrn_kernels.cpu_scan(x.bfloat16(), gate.bfloat16(), None, None, False)


def test_changing_the_saved_output_in_place_is_noticed():
    x, gate, _, _ = arguments()
    h = scan(x, gate, backend="cpu")
    loss = h.sum()
    with torch.no_grad():
        h.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
