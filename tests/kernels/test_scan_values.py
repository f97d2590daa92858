"""Outputs of every backend, against closed forms written without a recurrence and against the reference."""

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from hgrn_kernels import scan

BACKENDS = ["reference", "cpu"]
LENGTHS = [1, 2, 3, 9, 101, 1000]


def arguments(batch, length, channels, planes, dtype=torch.float32, seed=0):
    """Random x, gate, theta (or None) and initial state."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, length, planes * channels, generator=g, dtype=dtype)
    gate = torch.rand(batch, length, channels, generator=g, dtype=dtype)
    theta = 3 * torch.randn(channels, generator=g, dtype=dtype) if planes == 2 else None
    return x, gate, theta, torch.randn(batch, planes * channels, generator=g, dtype=dtype)


def as_complex(planes):
    re, im = np.split(planes.double().numpy(), 2, axis=-1)
    return re + 1j * im


def closed_form(x, gate, theta, initial):
    """h_t = Σ_s (Π_{s<r≤t} gate_r e^{iθ}) x_s in complex128, the initial state being x at s = -1."""
    factor = gate.double().numpy() * np.exp(1j * theta.double().numpy())
    source = np.concatenate([as_complex(initial)[:, None], as_complex(x)], axis=1)
    h = np.zeros(factor.shape, complex)
    for s in range(source.shape[1]):
        decay = np.cumprod(factor[:, s:], axis=1)  # from s to every later step
        if s > 0:
            h[:, s - 1] += source[:, s]
        h[:, s:] += decay * source[:, s, None]
    return h


def assert_near(actual, expected, tolerance):
    """The largest error is at most ``tolerance`` of the largest value."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape
    if expected.size:
        assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 3e-6)])
def test_complex_scan_equals_the_sum_over_decayed_inputs(backend, dtype, tolerance):
    x, gate, theta, initial = arguments(3, 57, 5, planes=2, dtype=dtype)
    h, final = scan(x, gate, theta=theta, initial_state=initial, return_final_state=True, backend=backend)
    expected = closed_form(x, gate, theta, initial)
    assert_near(h, np.concatenate([expected.real, expected.imag], -1), tolerance)
    assert torch.equal(final, h[:, -1])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("pole", [0.0, 0.3, 0.999, 1.0])
def test_constant_gate_is_a_one_pole_filter(backend, pole):
    x, _, _, _ = arguments(2, 400, 3, planes=1, dtype=torch.float64)
    h = scan(x, torch.full_like(x, pole), backend=backend)
    assert_near(h, lfilter([1.0], [1.0, -pole], x.numpy(), axis=1), 1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_constant_complex_gate_is_a_complex_one_pole_filter(backend):
    x, _, theta, _ = arguments(1, 300, 4, planes=2, dtype=torch.float64)
    h = as_complex(scan(x, torch.full((1, 300, 4), 0.97, dtype=torch.float64), theta=theta, backend=backend))
    for channel in range(4):
        pole = 0.97 * np.exp(1j * float(theta[channel]))
        expected = lfilter([1.0], [1.0, -pole], as_complex(x)[0, :, channel])
        np.testing.assert_allclose(h[0, :, channel], expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("channels", [1, 3, 64, 130])
@pytest.mark.parametrize("batch", [1, 3])
def test_cpu_equals_reference_at_every_shape(batch, length, channels):
    for planes, rotate, reverse in [(1, False, False), (1, False, True), (2, False, True), (2, True, False)]:
        x, gate, theta, initial = arguments(batch, length, channels, planes)
        options = {"theta": theta if rotate else None, "initial_state": initial, "reverse": reverse}
        h, final = scan(x, gate, **options, return_final_state=True, backend="cpu")
        expected, last = scan(x, gate, **options, return_final_state=True, backend="reference")
        assert h.dtype == final.dtype == torch.float32
        assert_near(h, expected, 2e-6)
        assert_near(final, last, 2e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rotate", [False, True])
def test_reverse_is_the_scan_of_the_flipped_sequence(backend, rotate):
    x, gate, theta, initial = arguments(2, 37, 6, planes=2)
    options = {"theta": theta if rotate else None, "initial_state": initial, "return_final_state": True}
    h, final = scan(x, gate, **options, reverse=True, backend=backend)
    flipped, last = scan(x.flip(1), gate.flip(1), **options, backend=backend)
    assert torch.equal(h, flipped.flip(1))
    assert torch.equal(final, last)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_two_halves_with_the_state_handed_over_equal_one_scan(backend, reverse, dtype):
    x, gate, theta, initial = arguments(2, 41, 5, planes=2, dtype=torch.float32)
    x, gate = x.to(dtype), gate.to(dtype)

    def run(part, state):
        return scan(
            x[:, part],
            gate[:, part],
            theta=theta,
            initial_state=state,
            reverse=reverse,
            return_final_state=True,
            backend=backend,
        )

    whole, end = run(slice(None), initial)
    parts = [slice(None, 17), slice(17, None)]
    first, second = parts[::-1] if reverse else parts
    h1, middle = run(first, initial)
    h2, final = run(second, middle)
    assert torch.equal(torch.cat([h2, h1] if reverse else [h1, h2], dim=1), whole)
    assert torch.equal(final, end)
    assert final.dtype == torch.float32


def test_two_planes_without_theta_are_two_real_scans():
    x, gate, _, initial = arguments(2, 30, 7, planes=2)
    h = scan(x, gate, initial_state=initial, backend="cpu")
    for part in (slice(0, 7), slice(7, 14)):
        assert torch.equal(h[..., part], scan(x[..., part], gate, initial_state=initial[:, part], backend="cpu"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_gate_of_zero_forgets_and_gate_of_one_sums(backend):
    x, _, _, initial = arguments(2, 20, 3, planes=1, dtype=torch.float64)
    ones, zeros = torch.ones_like(x), torch.zeros_like(x)
    assert torch.equal(scan(x, zeros, initial_state=initial, backend=backend), x)
    summed = scan(x, ones, initial_state=initial, backend=backend)
    torch.testing.assert_close(summed, x.cumsum(1) + initial[:, None])


@pytest.mark.parametrize("planes", [1, 2])
def test_memory_of_a_million_steps_survives_ten_thousand(planes):
    batch, length, channels = 1, 10_000, 4
    x, _, theta, initial = arguments(batch, length, channels, planes)
    gate = torch.full((batch, length, channels), 1 - 1e-6)
    theta = None if theta is None else theta / 100
    _, final = scan(x * 0, gate, theta=theta, initial_state=initial, return_final_state=True, backend="cpu")
    decay = float(gate[0, 0, 0]) ** length
    if theta is None:
        assert_near(final, decay * initial.numpy(), 1e-3)
    else:
        expected = as_complex(initial) * decay * np.exp(1j * length * theta.double().numpy())
        assert_near(final, np.concatenate([expected.real, expected.imag], -1), 1e-3)
    # And with inputs at every step, against the float64 scan of the same numbers.
    double = [None if t is None else t.double() for t in (x, gate, theta, initial)]
    h = scan(x, gate, theta=theta, initial_state=initial, backend="cpu")
    expected = scan(double[0], double[1], theta=double[2], initial_state=double[3], backend="cpu")
    assert_near(h, expected, 1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_half_precision_keeps_a_float32_state(backend):
    x, gate, theta, _ = arguments(2, 500, 8, planes=2)
    gate = 1 - gate / 100  # a state kept in bfloat16 would drift by several per cent
    for dtype, rounding in ((torch.bfloat16, 2**-8), (torch.float16, 2**-11)):
        h, final = scan(x.to(dtype), gate.to(dtype), theta=theta, return_final_state=True, backend=backend)
        exact = scan(x.to(dtype).double(), gate.to(dtype).double(), theta=theta.double(), backend="reference")
        assert h.dtype == dtype
        assert final.dtype == torch.float32
        assert_near(h.double(), exact, 1.01 * rounding)
        assert_near(final, exact[:, -1], 1e-5)


def test_non_contiguous_inputs_give_the_same_bits():
    x, gate, theta, initial = arguments(3, 40, 16, planes=2)
    expected = scan(x, gate, theta=theta, initial_state=initial, backend="cpu")
    wide = torch.cat([torch.full((3, 40, 5), torch.nan), x, gate, torch.full((3, 40, 3), torch.nan)], dim=2)
    variants = {
        "slices of a wider tensor": (wide[..., 5:37], wide[..., 37:53]),
        "time first in memory": (x.transpose(0, 1).contiguous().transpose(0, 1), gate),
        "channels first in memory": (x.mT.contiguous().mT, gate.mT.contiguous().mT),
        "every second row": (x.repeat_interleave(2, dim=1)[:, ::2], gate.repeat_interleave(2, dim=0)[::2]),
    }
    for name, (x_, gate_) in variants.items():
        h = scan(x_, gate_, theta=theta, initial_state=initial.T.contiguous().T, backend="cpu")
        assert torch.equal(h, expected), name
    broadcast = scan(x, gate[:1, :1].expand(3, 40, 16), theta=theta, backend="cpu")
    assert torch.equal(broadcast, scan(x, gate[:1, :1].expand(3, 40, 16).contiguous(), theta=theta, backend="cpu"))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("batch", "length"), [(0, 5), (3, 0), (0, 0)])
def test_nothing_to_scan_gives_empty_outputs_and_the_initial_state(backend, batch, length):
    x, gate, theta, initial = arguments(batch, length, 4, planes=2)
    h, final = scan(x, gate, theta=theta, initial_state=initial, return_final_state=True, backend=backend)
    assert h.shape == (batch, length, 8)
    assert torch.equal(final, initial)
    _, zeros = scan(x, gate, theta=theta, return_final_state=True, backend=backend)
    assert torch.equal(zeros, torch.zeros(batch, 8))


def test_inf_and_nan_stay_in_their_channel_and_after_their_step():
    x, gate, theta, _ = arguments(2, 12, 20, planes=2)
    clean = scan(x, gate, theta=theta, backend="cpu")
    x[1, 5, 3], x[0, 2, 7] = torch.nan, torch.inf
    h = scan(x, gate, theta=theta, backend="cpu")
    bad = ~h.isfinite()
    assert bad[1, 5:, 3].all()
    assert bad[0, 2:, 7].all()
    bad[1, 5:, [3, 23]] = bad[0, 2:, [7, 27]] = False
    assert not bad.any()
    finite = h.isfinite()
    assert torch.equal(h[finite], clean[finite])
