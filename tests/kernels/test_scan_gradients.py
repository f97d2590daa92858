"""Gradients of the CPU backend: finite differences in float64, and the reference's autograd."""

import pytest
import torch
from torch.autograd import gradcheck

from hgrn_kernels import scan


def leaves(batch, length, channels, planes, rotate, dtype=torch.float64):
    g = torch.Generator().manual_seed(1)
    x = torch.randn(batch, length, planes * channels, generator=g, dtype=dtype).requires_grad_()
    gate = torch.rand(batch, length, channels, generator=g, dtype=dtype).requires_grad_()
    initial = torch.randn(batch, planes * channels, generator=g, dtype=dtype).requires_grad_()
    theta = torch.randn(channels, generator=g, dtype=dtype).requires_grad_() if rotate else None
    return x, gate, initial, theta


def run(x, gate, initial, theta, *, reverse=False, backend="cpu"):
    return scan(x, gate, theta=theta, initial_state=initial, reverse=reverse, return_final_state=True, backend=backend)


def gradients(inputs, *, reverse, backend, outputs=(True, True)):
    """Gradients of a fixed weighting of the outputs that ``outputs`` names (h, final state)."""
    results = run(*inputs, reverse=reverse, backend=backend)
    chosen = [r for r, wanted in zip(results, outputs, strict=True) if wanted]
    g = torch.Generator().manual_seed(2)
    weights = [torch.randn(r.shape, generator=g, dtype=torch.float64).to(r.dtype) for r in chosen]
    return torch.autograd.grad(chosen, [t for t in inputs if t is not None], weights, allow_unused=True)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("planes", "rotate"), [(1, False), (2, False), (2, True)])
@pytest.mark.parametrize(("batch", "length", "channels"), [(1, 1, 1), (2, 2, 3), (3, 5, 2), (1, 7, 1)])
def test_gradcheck(batch, length, channels, planes, rotate, reverse):
    inputs = leaves(batch, length, channels, planes, rotate)
    assert gradcheck(lambda *a: run(*a, reverse=reverse), inputs, fast_mode=False)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_gradcheck_at_gates_of_exactly_zero_and_one(value, backend):
    x, gate, initial, theta = leaves(2, 4, 3, planes=2, rotate=True)
    gate = torch.full_like(gate, value).requires_grad_()
    assert gradcheck(lambda *a: run(*a, backend=backend), (x, gate, initial, theta))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 3, 3), (1, 101, 64), (3, 200, 130)])
@pytest.mark.parametrize(("planes", "rotate"), [(1, False), (2, False), (2, True)])
def test_gradients_equal_the_reference(shape, planes, rotate, dtype, tolerance):
    inputs = leaves(*shape, planes, rotate, dtype)
    for reverse in (False, True):
        expected = gradients(inputs, reverse=reverse, backend="reference")
        actual = gradients(inputs, reverse=reverse, backend="cpu")
        for a, e in zip(actual, expected, strict=True):
            assert a.dtype == dtype
            assert (a - e).abs().max() <= tolerance * e.abs().max()


def test_gradients_equal_the_reference_over_a_thousand_steps():
    inputs = leaves(2, 1000, 3, planes=2, rotate=True)
    expected = gradients(inputs, reverse=True, backend="reference")
    for a, e in zip(gradients(inputs, reverse=True, backend="cpu"), expected, strict=True):
        assert (a - e).abs().max() <= 1e-12 * e.abs().max()


@pytest.mark.parametrize("outputs", [(True, False), (False, True)])
def test_each_output_alone_carries_its_gradient(outputs):
    inputs = leaves(2, 6, 3, planes=2, rotate=True)
    expected = gradients(inputs, reverse=False, backend="reference", outputs=outputs)
    for a, e in zip(gradients(inputs, reverse=False, backend="cpu", outputs=outputs), expected, strict=True):
        assert e.abs().max() > 0
        torch.testing.assert_close(a, e)


def test_gradient_of_a_sum_of_states_without_an_initial_state():
    # L = Σ_t h_t with constant gate g: dL/dx_t = Σ_{k<L-t} g^k, and dL/dg follows from h_{t-1}.
    length, g = 6, 0.5
    x = torch.ones(1, length, 1, dtype=torch.float64, requires_grad=True)
    gate = torch.full((1, length, 1), g, dtype=torch.float64, requires_grad=True)
    h = scan(x, gate, backend="cpu")
    dx, dgate = torch.autograd.grad(h.sum(), [x, gate])  # the gradient of sum() has stride 0
    tail = torch.tensor([sum(g**k for k in range(length - t)) for t in range(length)], dtype=torch.float64)
    torch.testing.assert_close(dx.flatten(), tail)
    before = torch.cat([torch.zeros(1, dtype=torch.float64), h.detach().flatten()[:-1]])
    torch.testing.assert_close(dgate.flatten(), tail * before)


def test_theta_sums_do_not_lose_digits_over_a_long_sequence():
    x, gate, initial, theta = leaves(1, 16384, 3, planes=2, rotate=True, dtype=torch.float32)
    gate = (1 - gate.detach() / 1000).requires_grad_()
    double = [t.detach().double().requires_grad_() for t in (x, gate, initial, theta)]
    actual = gradients((x, gate, initial, theta), reverse=False, backend="cpu")
    expected = gradients(double, reverse=False, backend="cpu")
    for a, e in zip(actual, expected, strict=True):
        assert (a - e).abs().max() <= 2e-4 * e.abs().max()


def test_non_contiguous_inputs_and_incoming_gradients():
    inputs = x, gate, initial, theta = leaves(3, 20, 16, planes=2, rotate=True)
    weight = torch.randn(32, 20, 3, dtype=torch.float64).permute(2, 1, 0)
    expected = torch.autograd.grad(run(*inputs)[0], inputs, weight.contiguous())
    time_first = gate.transpose(0, 1).contiguous().transpose(0, 1)
    h, _ = run(x.mT.contiguous().mT, time_first, initial, theta)
    for a, e in zip(torch.autograd.grad(h, inputs, weight), expected, strict=True):
        assert torch.equal(a, e)


@pytest.mark.parametrize(("batch", "length"), [(0, 5), (3, 0)])
def test_empty_inputs_have_empty_or_passed_on_gradients(batch, length):
    inputs = leaves(batch, length, 4, planes=2, rotate=True)
    dx, dgate, dinitial, dtheta = gradients(inputs, reverse=False, backend="cpu")
    assert dx.shape == (batch, length, 8)
    assert dgate.shape == (batch, length, 4)
    assert torch.equal(dtheta, torch.zeros(4, dtype=torch.float64))
    if length == 0:
        g = torch.Generator().manual_seed(2)
        torch.randn(batch, length, 8, generator=g, dtype=torch.float64)
        assert torch.equal(dinitial, torch.randn(batch, 8, generator=g, dtype=torch.float64))


def test_half_precision_inputs_get_gradients_of_their_own_dtype():
    inputs = leaves(2, 50, 8, planes=2, rotate=True, dtype=torch.float32)
    half = [t.detach().bfloat16().requires_grad_() for t in inputs[:2]] + list(inputs[2:])
    double = [t.detach().double().requires_grad_() for t in half]
    h, _ = run(*half)
    weight = torch.randn(h.shape).bfloat16()
    actual = torch.autograd.grad(h, half, weight)
    expected = torch.autograd.grad(run(*double, backend="reference")[0], double, weight.double())
    for a, e, t in zip(actual, expected, half, strict=True):
        assert a.dtype == t.dtype
        assert (a.double() - e).abs().max() <= (2**-8 if a.dtype == torch.bfloat16 else 1e-5) * e.abs().max()


def test_second_derivatives_are_refused_not_wrong():
    inputs = leaves(1, 4, 2, planes=2, rotate=True)
    (dx,) = torch.autograd.grad(run(*inputs)[0].square().sum(), inputs[0], create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only; pass backend='reference'"):
        torch.autograd.grad(dx.sum(), inputs[1])
    assert torch.autograd.gradgradcheck(lambda *a: run(*a, backend="reference"), inputs)
