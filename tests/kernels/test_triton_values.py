"""The Triton kernels against the reference in float64: outputs and all gradients, interpreted where there is no GPU."""

import functools
import importlib
import math

import pytest
import torch

from hgrn_kernels import gated_norm, hgru, hgru2d, scan

recurrence = importlib.import_module("hgrn_kernels.triton.recurrence")  # the package's attribute is the function
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def wide_programs(monkeypatch):
    """The interpreter takes as long for a wide program as for a narrow one; a test below has several.

    And the many small operations, its own and the reference's, only wait for a second thread.
    """
    before = torch.get_num_threads()
    if DEVICE == "cpu":
        monkeypatch.setattr(recurrence, "BLOCK", 256)
        torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def segments(monkeypatch):
    def cut(most):
        monkeypatch.setattr(recurrence, "_SHORTEST", 8)
        monkeypatch.setattr(recurrence, "segments_for", lambda sequences, length, *_: _cut(most, length))

    return cut


def _cut(most, length):
    steps = math.ceil(math.ceil(length / most) / 8) * 8
    return math.ceil(length / steps), steps


def tensors(*shape, planes=2, directions=None, seed=0):
    """x, gate logits, lower bound, θ and the initial state of sequences, or images, of that shape (..., D)."""
    g = torch.Generator().manual_seed(seed)
    *rows, channels = shape
    x = torch.randn(*rows, planes * channels, generator=g)
    logits = 3 * torch.randn(shape, generator=g)
    bound = torch.rand(channels, generator=g)
    rotation = (channels,) if directions is None else (directions, channels)
    theta = torch.randn(rotation, generator=g) if planes == 2 else None
    initial = torch.randn(rows[0], planes * channels, generator=g)
    return x, logits, bound, theta, initial


def results(function, inputs, dtype, backend):
    """Outputs of a function, and the gradients of a fixed weighting of them, all in float64."""
    device = DEVICE if backend == "triton" else "cpu"
    leaves = [None if t is None else t.to(device, dtype, copy=True).requires_grad_() for t in inputs]
    outputs = function(*leaves, backend=backend)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    g = torch.Generator().manual_seed(1)
    weights = [torch.randn(o.shape, generator=g).bfloat16().to(device, o.dtype) for o in outputs]  # exact in any dtype
    gradients = torch.autograd.grad(
        outputs, [t for t in leaves if t is not None], weights, allow_unused=True, materialize_grads=True
    )
    return [t.detach().double().cpu() for t in (*outputs, *gradients)]


def assert_near_reference(function, inputs, tolerance=2e-6, dtype=torch.float32):
    rounded = [None if t is None else t.to(dtype) for t in inputs]
    expected = results(function, rounded, torch.float64, "reference")
    actual = results(function, rounded, dtype, "triton")
    assert len(actual) == len(expected)
    for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
        assert a.shape == e.shape
        assert torch.isfinite(a).all()
        worst = (a - e).abs().max().item() if e.numel() else 0.0
        assert worst <= tolerance * max(e.abs().max().item() if e.numel() else 0.0, 0.1), f"tensor {i}: {worst}"


def run_scan(x, logits, theta, initial, *, backend, reverse=False):
    return scan(
        x, logits.sigmoid(), theta=theta, initial_state=initial, reverse=reverse, return_final_state=True,
        backend=backend,
    )  # fmt: skip


SHAPES = [  # batch, length, channels, segments
    (1, 1, 1, 1),
    (3, 2, 16, 1),
    (1, 7, 130, 1),
    (3, 20, 3, 3),
    (1, 63, 16, 4),
    (1, 64, 48, 1),
    (1, 65, 130, 9),
]


@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_kernel_on_every_shape(shape, planes, segments):
    segments(shape[3])
    x, logits, bound, theta, initial = tensors(*shape[:3], planes=planes)
    for reverse in (False, True):
        assert_near_reference(functools.partial(run_scan, reverse=reverse), (x, logits, theta, initial))
    lengths = torch.tensor([shape[1], shape[1] // 2, 0][: shape[0]])

    def causal(*a, backend):
        *inputs, start = a
        return hgru(*inputs, bidirectional=False, lengths=lengths.to(start.device), initial_state=start,
                    return_final_state=True, backend=backend)  # fmt: skip

    def both(*a, backend):
        return hgru(*a, bidirectional=True, lengths=lengths.to(a[0].device), backend=backend)

    assert_near_reference(causal, (x, logits, bound, theta, initial))
    two = None if theta is None else torch.stack([theta, -0.5 * theta])
    assert_near_reference(both, (x, logits, bound, two))


@pytest.mark.parametrize(("length", "channels", "count"), [(1000, 16, 6), (2049, 2, 7)])
def test_long_sequences(length, channels, count, segments):
    segments(count)
    x, logits, _, theta, initial = tensors(1, length, channels)
    assert_near_reference(run_scan, (x, logits, theta, initial))


def test_both_ways_over_a_thousand_steps(segments):
    segments(5)
    x, logits, bound, theta, _ = tensors(1, 1000, 2, directions=2)
    assert_near_reference(lambda *a, backend: hgru(*a, bidirectional=True, backend=backend), (x, logits, bound, theta))


@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize(("shape", "count"), [((2, 3, 9, 4), 1), ((1, 9, 10, 3), 2), ((1, 4, 1, 2), 1)])
def test_images(shape, count, planes, segments):
    segments(count)
    x, logits, bound, theta, _ = tensors(*shape, planes=planes, directions=4)
    assert_near_reference(hgru2d, (x, logits, bound, theta))


def test_several_programs_along_the_channels(segments, monkeypatch):
    monkeypatch.setattr(recurrence, "BLOCK", 32)
    segments(2)
    x, logits, bound, theta, _ = tensors(2, 18, 70)
    assert_near_reference(lambda *a, backend: hgru(*a, bidirectional=True, backend=backend), (x, logits, bound, theta))


@pytest.mark.parametrize("both", [False, True])
def test_identity_shared_theta_no_bound_and_planes_without_rotation(both, segments):
    segments(3)
    x, logits, _, theta, _ = tensors(2, 21, 5)
    for rotation in (theta, None):
        assert_near_reference(
            lambda *a, backend: hgru(
                a[0], a[1], None, a[2], bidirectional=both, activation="identity", backend=backend
            ),
            (x, logits, rotation),
        )


def test_padding_is_neither_read_nor_left_as_garbage(segments):
    segments(3)
    x, logits, bound, theta, _ = tensors(2, 21, 4)
    lengths = torch.tensor([5, 0], device=DEVICE)
    clean = [t.to(DEVICE).requires_grad_() for t in (x, logits)]
    dirty = [t.detach().clone() for t in clean]
    for t in dirty:
        t[0, 5:], t[1] = math.nan, math.nan
        t.requires_grad_()
    outputs = []
    for inputs in (clean, dirty):
        small = [t.to(DEVICE).requires_grad_() for t in (bound, theta)]
        h = hgru(*inputs, *small, bidirectional=True, lengths=lengths, backend="triton")
        weight = torch.full_like(h, math.nan)  # what comes back from the padding is not read either
        weight[0, :5] = 1
        outputs.append([h, *torch.autograd.grad(h, [*inputs, *small], weight)])
    for a, b in zip(*outputs, strict=True):
        assert torch.equal(a, b)
    h, dx, dforget, *_ = outputs[1]
    for t in (h, dx, dforget):
        assert (t[0, 5:] == 0).all()
        assert (t[1] == 0).all()
        assert t[0, :5].abs().min() > 0


@pytest.mark.parametrize("value", [0.0, 1.0, 1 - 2**-17])
def test_gates_at_and_near_zero_and_one(value, segments):
    segments(3)
    x, _, _, theta, initial = tensors(1, 40, 3)
    gate = torch.full((1, 40, 3), value)

    def run(x, gate, theta, initial, *, backend):
        return scan(x, gate, theta=theta, initial_state=initial, return_final_state=True, backend=backend)

    assert_near_reference(run, (x, gate, theta, initial))


def test_logits_far_out_and_a_high_lower_bound(segments):
    segments(3)
    x, logits, _, theta, _ = tensors(1, 40, 6)
    logits = 40 * logits.sign() * torch.rand(logits.shape)
    bound = torch.tensor([0, 0.5, 0.9, 0.999, 0.9999, 0.99999])
    assert_near_reference(
        lambda *a, backend: hgru(*a, bidirectional=True, backend=backend), (x, logits, bound, theta), tolerance=1e-5
    )
    # 1 − λ keeps its digits where λ rounds to 1: the first h is (1 − λ) SiLU(x).
    far = torch.full((1, 1, 1), 30.0, device=DEVICE)
    h = hgru(torch.ones_like(far), far, bidirectional=False, activation="identity", backend="triton")
    assert h.item() == pytest.approx(1 / (1 + math.exp(30)), rel=5e-6)
    infinite = hgru(torch.ones_like(far), far / 0, bidirectional=False, backend="triton")
    assert infinite.item() == 0


def test_a_memory_of_more_than_ten_thousand_steps(segments):
    segments(8)
    length, forget = 1000, math.log(20000 - 1)  # λ = 1 − 1 / 20000
    logits = torch.full((1, length, 1), forget, device=DEVICE)
    x = torch.ones(1, length, 1, device=DEVICE)
    h = hgru(x, logits, bidirectional=False, activation="identity", backend="triton")
    exact = 1 - (1 - 1 / 20000) ** torch.arange(1, length + 1, dtype=torch.float64)
    assert ((h.flatten().double().cpu() - exact) / exact).abs().max() < 2e-5


@pytest.mark.parametrize("size", [100.0, 1e4, 1e6])
def test_large_angles(size, segments):
    segments(2)
    x, logits, _, theta, initial = tensors(1, 20, 5)
    assert_near_reference(run_scan, (x, logits, size * theta, initial), tolerance=5e-6)


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.bfloat16, 2**-7), (torch.float16, 2**-10)])
def test_half_precision_keeps_a_float32_state(dtype, rounding, segments):
    segments(3)
    x, logits, bound, theta, _ = tensors(1, 100, 3, directions=2)
    inputs = (x, logits + 5, bound, theta)  # long memory: a state in half precision would drift by several per cent
    assert_near_reference(
        lambda *a, backend: hgru(*a, bidirectional=True, backend=backend), inputs, tolerance=rounding, dtype=dtype
    )
    half = x.to(DEVICE, dtype)
    mixed = hgru(half, logits.to(DEVICE), bidirectional=False, return_final_state=True, backend="triton")
    assert [t.dtype for t in mixed] == [dtype, torch.float32]


def test_slices_and_expanded_tensors_are_read_where_they_lie(segments):
    segments(2)
    x, logits, bound, theta, _ = tensors(2, 18, 4)
    wide = torch.cat([torch.full((2, 18, 3), math.nan), x, logits, torch.full((2, 18, 2), math.nan)], dim=-1).to(DEVICE)
    bound, theta = bound.to(DEVICE), theta.to(DEVICE)
    _, x_, logits_, _ = wide.split([3, 8, 4, 2], dim=-1)
    expected = hgru(x.to(DEVICE), logits.to(DEVICE), bound, theta, bidirectional=True, backend="triton")
    assert torch.equal(hgru(x_, logits_, bound, theta, bidirectional=True, backend="triton"), expected)
    flipped = hgru(x_.mT.contiguous().mT, logits_, bound, theta, bidirectional=True, backend="triton")
    assert torch.equal(flipped, expected)
    constant = logits[0, 0].to(DEVICE)
    expanded = hgru(x_, constant.expand(2, 18, 4), bound, theta, bidirectional=True, backend="triton")
    copied = hgru(x_, constant.expand(2, 18, 4).contiguous(), bound, theta, bidirectional=True, backend="triton")
    assert torch.equal(expanded, copied)


@pytest.mark.parametrize(("batch", "length"), [(0, 5), (3, 0)])
def test_nothing_to_scan(batch, length):
    x, logits, bound, theta, initial = tensors(batch, length, 4)
    assert_near_reference(run_scan, (x, logits, theta, initial))
    assert_near_reference(lambda *a, backend: hgru(*a, bidirectional=True, backend=backend), (x, logits, bound, theta))


def test_two_calls_give_the_same_bits(segments):
    segments(3)
    x, logits, bound, theta, _ = tensors(2, 30, 4)

    def run(*a, backend):
        return hgru(*a, bidirectional=True, backend=backend)

    first, second = (results(run, (x, logits, bound, theta), torch.float32, "triton") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("gate_first", [False, True])
@pytest.mark.parametrize("shape", [(3, 5, 6), (70, 130), (2, 3, 4, 64), (4, 3), (0, 4), (5, 1000)])
def test_gated_norm(shape, gate_first):
    g = torch.Generator().manual_seed(0)
    h, gate = 2 * torch.randn(shape, generator=g) + 3, 3 * torch.randn(shape, generator=g)
    weight, bias = torch.randn(2, shape[-1], generator=g)
    run = (h, gate, weight, bias)
    assert_near_reference(lambda *a, backend: gated_norm(*a, gate_first=gate_first, backend=backend), run, 5e-6)
    for dtype, rounding in ((torch.bfloat16, 2**-7), (torch.float16, 2**-10)):
        tolerance = 3 * rounding if gate_first else rounding  # the gradient of a difference of gated products
        assert_near_reference(
            lambda *a, backend: gated_norm(*a, gate_first=gate_first, backend=backend), run, tolerance, dtype
        )


def test_gated_norm_of_a_row_far_from_zero():
    g = torch.Generator().manual_seed(0)
    h = 100 + torch.randn(3, 64, generator=g)
    gate, weight, bias = torch.randn(3, 64, generator=g), torch.ones(64), torch.zeros(64)
    assert_near_reference(gated_norm, (h, gate, weight, bias), tolerance=1e-4)
