"""The CPU operators inside torch: opcheck, torch.compile, checkpointing, autocast, functional transforms."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from hgrn_kernels import hgru, scan
from hgrn_kernels.cpu.recurrence import CHUNK


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
    forward = torch.ops.hgrn_kernels.cpu_recurrence.default
    plain, gated = (None, False, reverse, True, requires_grad), ("silu", False, reverse, True, requires_grad)
    both = ("identity", True, False, False, requires_grad)
    time_first = gate.transpose(0, 1).contiguous().transpose(0, 1)
    bound, lengths = gate[0, 0].detach().clone(), torch.tensor([4, 11])
    for inputs in (
        (x, gate, None, theta[None], initial, None, *plain),
        (x, gate, None, None, None, None, *plain),
        (x[..., :6], gate, None, None, initial[:, :6], None, *plain),
        (x.mT.contiguous().mT, time_first, None, theta[None], None, None, *plain),
        (x, gate, bound, theta[None], initial, lengths, *gated),
        (x, gate, bound, theta.expand(2, 6), None, lengths, *both),
        (x[:, None], gate[:, None], bound, theta.expand(4, 6), None, None, *both),
    ):
        leaves = [
            t.detach().requires_grad_(requires_grad) if isinstance(t, torch.Tensor) and t.is_floating_point() else t
            for t in inputs
        ]
        torch.library.opcheck(forward, leaves)


def test_opcheck_of_the_backward_operator():
    x, gate, theta, initial = arguments(requires_grad=False)
    forward = torch.ops.hgrn_kernels.cpu_recurrence.default
    backward = torch.ops.hgrn_kernels.cpu_recurrence_backward.default
    for activation, both, thetas, start in (
        (None, False, theta[None], initial), ("silu", False, None, None), ("silu", True, theta.expand(2, 6), None)
    ):  # fmt: skip
        *_, kept, carries = forward(x, gate, None, thetas, start, None, activation, both, False, False, True)
        inputs = (x, initial if start is not None else None, x, gate, None, thetas, start, None, kept, carries)
        torch.library.opcheck(backward, (*inputs, activation, both, False))


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


def test_what_is_saved_does_not_grow_with_the_fused_operations():
    x, gate, theta, _ = arguments(length=64)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (saved.append(t.numel()), t)[1], lambda t: t):
        hgru(x, gate, None, theta, bidirectional=False, backend="cpu")
    assert sum(saved) <= x.numel() * (1 + 1 / CHUNK) + gate.numel() + theta.numel()


def test_changing_a_saved_input_in_place_is_noticed():
    x, gate, _, _ = arguments()
    loss = scan(x, gate, backend="cpu").sum()
    with torch.no_grad():
        x.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
