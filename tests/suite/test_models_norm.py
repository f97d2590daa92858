"""Norms: batch norm over real positions only."""

import numpy as np
import pytest
import torch
from torch import nn

from lra_hgrn.models.norm import BatchNorm, LayerNorm, RMSNorm


def ragged(lengths, d=5, length=None):
    torch.manual_seed(0)
    mask = torch.arange(length or max(lengths)) < torch.tensor(lengths)[:, None]
    return torch.randn(*mask.shape, d, dtype=torch.float64) * 3 + 1, mask


def test_masked_batch_norm_counts_real_positions_only():
    x, mask = ragged([7, 3, 1], length=9)
    norm = BatchNorm(5).double()
    with torch.no_grad():
        norm.weight.copy_(torch.rand(5))
        norm.bias.copy_(torch.rand(5))
    rows = x[mask].numpy()
    mean, var = rows.mean(0), rows.var(0)
    want = (rows - mean) / np.sqrt(var + 1e-5) * norm.weight.detach().numpy() + norm.bias.detach().numpy()
    np.testing.assert_allclose(norm(x, mask)[mask].detach(), want)
    np.testing.assert_allclose(norm.running_mean, 0.1 * mean)
    np.testing.assert_allclose(norm.running_var, 0.9 + 0.1 * rows.var(0, ddof=1))
    evaluated = norm.eval()(x, mask)[mask]
    want = (rows - 0.1 * mean) / np.sqrt(0.9 + 0.1 * rows.var(0, ddof=1) + 1e-5)
    want = want * norm.weight.detach().numpy() + norm.bias.detach().numpy()
    np.testing.assert_allclose(evaluated.detach(), want)


@pytest.mark.parametrize("masked", [True, False])
def test_batch_norm_and_its_gradient_are_torch_s(masked):
    x, mask = ragged([6, 2] if masked else [6, 6])
    ours, theirs = BatchNorm(5).double(), nn.BatchNorm1d(5).double()
    a, b = (x.clone().requires_grad_() for _ in range(2))
    weights = torch.randn_like(x)
    (ours(a, mask if masked else None) * weights)[mask].sum().backward()
    (theirs(b[mask]) * weights[mask]).sum().backward()
    torch.testing.assert_close(a.grad, b.grad)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_one_real_position_keeps_the_statistics_finite():
    x, mask = ragged([1], length=3)
    norm = BatchNorm(5).double()
    assert norm(x, mask).isfinite().all()
    np.testing.assert_allclose(norm.running_var, 0.9)


def test_layer_and_rms_norm_are_per_position():
    x = torch.randn(2, 3, 8, dtype=torch.float64)
    centred = x - x.mean(-1, keepdim=True)
    torch.testing.assert_close(
        LayerNorm(8).double()(x), centred / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    )
    torch.testing.assert_close(RMSNorm(8).double()(x), x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt())
