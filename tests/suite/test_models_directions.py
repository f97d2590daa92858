"""Long convolutions, diagonal recurrences and reversal, both ways, against loops."""

import pytest
import torch

from hgrn_kernels import scan
from lra_hgrn.models.directions import convolve, diagonal_states, power_sums, reverse_within


@pytest.mark.parametrize("length", [1, 127, 128, 129, 300])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_power_sums_are_sums_of_powers(length, dtype):
    torch.manual_seed(0)
    weights = torch.randn(2, 1, 3, dtype=dtype)
    rates = torch.randn(4, 3, dtype=dtype) * 0.1 - 0.2
    powers = (rates.unsqueeze(-1) * torch.arange(length)).exp()
    want = (weights.unsqueeze(-1) * powers).sum(-2)
    torch.testing.assert_close(power_sums(weights, rates, length), want.real)


@pytest.mark.parametrize("length", [1, 2, 7])
def test_convolutions_run_both_ways(length):
    torch.manual_seed(0)
    x, kernel, back = torch.randn(2, length, 3).double(), *torch.randn(2, 3, length).double()
    onwards, behind = torch.zeros_like(x), torch.zeros_like(x)
    for t in range(length):
        for s in range(length):
            if s <= t:
                onwards[:, t] += kernel[:, t - s] * x[:, s]
            else:
                behind[:, t] += back[:, s - t - 1] * x[:, s]
    torch.testing.assert_close(convolve(x, kernel), onwards)
    torch.testing.assert_close(convolve(x, kernel, back), onwards + behind)


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_expanded_gate_is_a_gate_at_every_step(both_ways, dtype):
    torch.manual_seed(0)
    decay, angle = torch.rand(5).to(dtype).requires_grad_(), torch.randn(5).to(dtype).requires_grad_()
    u = torch.randn(3, 40, 10).to(dtype).requires_grad_()
    found = diagonal_states(u, decay, angle, both_ways)
    lam = torch.polar(decay, angle)
    states = torch.zeros(3, 5, dtype=lam.dtype)
    complex_u = torch.complex(u[..., :5], u[..., 5:])
    ways = []
    for order in (range(40), reversed(range(40))) if both_ways else (range(40),):
        h, at = states, {}
        for t in order:
            at[t] = h = lam * h + complex_u[:, t]
        stacked = torch.stack([at[t] for t in range(40)], dim=1)
        ways += [stacked.real, stacked.imag]
    expected = torch.cat(ways, dim=-1)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(found)
    inputs = (u, decay, angle)
    gradients = (torch.autograd.grad((y * weights).sum(), inputs) for y in (found, expected))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)
    copied = scan(u, decay.expand(3, 40, 5).contiguous(), theta=angle)
    assert torch.equal(found[..., :10], copied)


def test_reversal_stays_within_each_sample():
    x = torch.arange(8.0).reshape(2, 4, 1)
    mask = torch.tensor([[True, True, True, False], [True] * 4])
    assert reverse_within(x, mask).flatten().tolist() == [2, 1, 0, 3, 7, 6, 5, 4]
    assert reverse_within(x, None).flatten().tolist() == [3, 2, 1, 0, 7, 6, 5, 4]
    assert torch.equal(reverse_within(reverse_within(x, mask), mask), x)
