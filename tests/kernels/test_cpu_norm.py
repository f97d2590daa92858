"""The gated norm on the CPU backend: values and gradients in float64, precision, threads, and its place in torch."""

import pytest
import torch
import torch.nn.functional as F

from hgrn_kernels import gated_norm
from hgrn_kernels.cpu import threads as native_threads

SHAPES = [(1,), (5,), (1, 1), (3, 16), (2, 5, 17), (2, 3, 4, 130), (600, 7)]


def arguments(shape, dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)
    shapes = (shape, shape, shape[-1:], shape[-1:])
    return [torch.randn(s, generator=g, dtype=dtype).requires_grad_() for s in shapes]


def step(inputs, *, backend="cpu", dy=None, **options):
    """Output and gradients of one forward and backward pass."""
    y = gated_norm(*inputs, **options, backend=backend)
    if dy is None:
        dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64).to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, inputs, dy)]


def assert_near(actual, expected, tolerance):
    """The largest error of each tensor is at most ``tolerance`` of its largest value."""
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape
        if e.numel():
            assert (a.double() - e.double()).abs().max() <= tolerance * max(1e-3, e.abs().max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gate_first", [False, True])
def test_values_and_gradients_equal_the_reference(shape, gate_first, monkeypatch):
    inputs = arguments(shape)
    expected = step(inputs, gate_first=gate_first, eps=0.1, backend="reference")
    empty = torch.empty  # an element never written, or read before, is seen
    monkeypatch.setattr(torch, "empty", lambda *size, **options: empty(*size, **options).fill_(torch.nan))
    assert_near(step(inputs, gate_first=gate_first, eps=0.1), expected, 1e-12)


def test_it_is_layer_norm_times_silu():
    h, gate, weight, bias = inputs = arguments((40, 33), dtype=torch.float32)
    after = F.layer_norm(h, (33,), weight, bias, 1e-5) * F.silu(gate)
    first = F.layer_norm(F.silu(gate) * h, (33,), weight, bias, 1e-5)
    dy = torch.randn(40, 33)
    for gate_first, y in ((False, after), (True, first)):
        expected = [y.detach(), *torch.autograd.grad(y, inputs, dy)]
        assert_near(step(inputs, gate_first=gate_first, dy=dy), expected, 1e-5)


@pytest.mark.parametrize("gate_first", [False, True])
def test_gradcheck(gate_first):
    assert torch.autograd.gradcheck(lambda *a: gated_norm(*a, gate_first=gate_first, backend="cpu"), arguments((2, 3)))


@pytest.mark.parametrize("gate_first", [False, True])
def test_a_large_mean_costs_no_digits(gate_first):
    h, gate, weight, bias = arguments((50, 128), dtype=torch.float32)
    h = (1e4 + h.detach() / 100).requires_grad_()  # float32 holds this to 0.001
    if gate_first:
        gate = torch.full_like(gate, 32).requires_grad_()  # SiLU(32) is 32, so that the products are exact
    inputs = [h, gate, weight, bias]
    double = [t.detach().double().requires_grad_() for t in inputs]
    expected = step(double, gate_first=gate_first, backend="reference")
    for a, e in zip(step(inputs, gate_first=gate_first), expected, strict=True):
        assert (a - e).abs().max() <= 1e-6 * e.abs().max()


def test_sums_over_many_rows_keep_float32_precision():
    inputs = arguments((20_000, 5), dtype=torch.float32)
    double = [t.detach().double().requires_grad_() for t in inputs]
    assert_near(step(inputs, dy=torch.ones(20_000, 5)), step(double, dy=torch.ones(20_000, 5).double()), 1e-6)


@pytest.mark.parametrize("gate_first", [False, True])
@pytest.mark.parametrize("openmp", [True, False])
def test_results_do_not_depend_on_the_number_of_threads(gate_first, openmp, monkeypatch):
    if not openmp:
        monkeypatch.setattr(native_threads, "_openmp", lambda: None)
    inputs, before, results = arguments((1000, 96), dtype=torch.float32), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            results.append(step(inputs, gate_first=gate_first))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, results[0], strict=True))


def test_non_contiguous_inputs_and_incoming_gradients():
    h, gate, weight, bias = inputs = arguments((6, 5, 16))
    dy = torch.randn(6, 5, 16, dtype=torch.float64)
    wide = torch.cat([h, gate, gate], dim=-1).detach()
    spread = torch.stack([weight, bias], dim=1).detach()
    for gate_first in (False, True):
        expected = step(inputs, gate_first=gate_first, dy=dy)
        variants = {
            "slices of a wider tensor": (wide[..., :16], wide[..., 16:32], weight, bias, dy),
            "channels first": (h.mT.contiguous().mT, gate.mT.contiguous().mT, weight, bias, dy.mT.contiguous().mT),
            "axes in another order": (
                h.permute(1, 0, 2).contiguous().permute(1, 0, 2),
                gate,
                *spread.unbind(1),
                dy.permute(1, 0, 2).contiguous().permute(1, 0, 2),
            ),
        }
        for name, (*tensors, gradient) in variants.items():
            leaves = [t.detach().requires_grad_() for t in tensors]
            actual = step(leaves, gate_first=gate_first, dy=gradient)
            assert all(torch.equal(a, e) for a, e in zip(actual, expected, strict=True)), name
    (dh,) = torch.autograd.grad(gated_norm(h, gate, weight, bias, backend="cpu").sum(), h)  # a gradient of stride 0
    assert torch.equal(dh, step(inputs, dy=torch.ones_like(dy))[1])


@pytest.mark.parametrize("shape", [(0, 4), (3, 0, 4)])
def test_empty_inputs(shape):
    y, dh, dgate, dweight, dbias = step(arguments(shape))
    assert y.shape == dh.shape == dgate.shape == shape
    assert torch.equal(torch.stack([dweight, dbias]), torch.zeros(2, 4, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("gate_first", [False, True])
def test_half_precision_is_computed_in_float32(dtype, gate_first):
    inputs = arguments((20, 64), dtype=torch.float32)
    half = [t.detach().to(dtype).requires_grad_() for t in inputs[:2]] + inputs[2:]
    double = [t.detach().double().requires_grad_() for t in half]
    dy = torch.randn(20, 64).to(dtype)
    expected = step(double, gate_first=gate_first, backend="reference", dy=dy.double())
    rounding = torch.finfo(dtype).eps
    for a, e, like in zip(step(half, gate_first=gate_first, dy=dy), expected, [half[0], *half], strict=True):
        assert a.dtype == like.dtype
        assert (a.double() - e).abs().max() <= (rounding if a.dtype == dtype else 1e-5) * e.abs().max()


def test_a_float64_gate_raises_the_statistics_to_float64():
    inputs = arguments((5, 8))
    mixed = [inputs[0].detach().float().requires_grad_(), *inputs[1:]]
    y, *gradients = step(mixed)
    assert [t.dtype for t in (y, *gradients)] == [torch.float32, torch.float32, *[torch.float64] * 3]
    double = [t.detach().double().requires_grad_() for t in mixed]
    dy = torch.randn(5, 8, generator=torch.Generator().manual_seed(9), dtype=torch.float64).float().double()
    assert_near(gradients[1:], step(double, dy=dy)[2:], 1e-14)


def test_inf_and_nan_stay_in_their_row():
    h, gate, weight, bias = (t.detach() for t in arguments((6, 40), dtype=torch.float32))
    clean = gated_norm(h, gate, weight, bias, backend="cpu")
    h[1, 5], h[3, 30], gate[4, 2] = torch.inf, torch.nan, torch.nan
    y = gated_norm(h, gate, weight, bias, backend="cpu")
    assert y[1].isnan().all()
    assert y[3].isnan().all()
    assert y[4].isnan().nonzero().tolist() == [[2]]
    assert torch.equal(y[[0, 2, 5]], clean[[0, 2, 5]])


@pytest.mark.parametrize("gate_first", [False, True])
def test_opcheck_of_both_operators(gate_first):
    inputs = arguments((2, 3, 8), dtype=torch.float32)
    forward = torch.ops.hgrn_kernels.cpu_gated_norm.default
    torch.library.opcheck(forward, (*inputs, 1e-5, gate_first))
    h, gate, weight, bias = (t.detach() for t in inputs)
    torch.library.opcheck(forward, (h.mT.contiguous().mT, gate.bfloat16(), weight, bias, 1e-5, gate_first))
    y, mean, rstd = forward(h, gate, weight, bias, 1e-5, gate_first)
    backward = torch.ops.hgrn_kernels.cpu_gated_norm_backward.default
    torch.library.opcheck(backward, (y, h, gate, weight, bias, mean, rstd, gate_first))


def test_compile_makes_one_graph():
    inputs = arguments((4, 16), dtype=torch.float32)
    compiled = torch.compile(lambda *a: gated_norm(*a, backend="cpu") * 2, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(*inputs), 2 * gated_norm(*inputs, backend="cpu"))


def test_second_derivatives_are_refused_not_wrong():
    inputs = arguments((2, 4))
    (dh,) = torch.autograd.grad(gated_norm(*inputs, backend="cpu").square().sum(), inputs[0], create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only; pass backend='reference'"):
        torch.autograd.grad(dh.sum(), inputs[1])


def test_vmap_is_refused_with_a_way_out():
    h, gate, weight, bias = (t.detach() for t in arguments((3, 2, 4)))
    with pytest.raises(RuntimeError, match=r"does not work under torch\.func\.vmap; pass backend='reference'"):
        torch.func.vmap(lambda h, gate: gated_norm(h, gate, weight, bias, backend="cpu"))(h, gate)
