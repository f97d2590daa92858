"""hgru and hgru2d on the CPU backend: values and all gradients against the reference, padding, states, precision."""

import itertools

import pytest
import torch
from torch.autograd import gradcheck
from torch.profiler import ProfilerActivity, profile

from hgrn_kernels import hgru, hgru2d
from hgrn_kernels.cpu.recurrence import CHUNK

# planes, rows of theta (0: none), both directions
KINDS = [(1, 0, False), (2, 0, False), (2, 1, False), (1, 0, True), (2, 0, True), (2, 1, True), (2, 2, True)]
FORMS = list(itertools.product(("silu", "identity"), (False, True), (False, True)))  # activation, bound, lengths


@pytest.fixture(autouse=True)
def one_thread():
    """The reference's many small operations would wait for each other where cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def dirty_memory(monkeypatch):
    """What is allocated holds nan and lies between guards: nothing is read before it is written, or written beside."""
    empty, guarded = torch.empty, []

    def dirty(*size, **options):
        shape = torch.Size(size[0] if isinstance(size[0], tuple) else size)
        whole = empty(shape.numel() + 128, **options)
        if whole.is_floating_point():
            guarded.append(whole.fill_(torch.nan))
            whole[:64] = whole[-64:] = 7
        return whole[64:-64].view(shape)

    monkeypatch.setattr(torch, "empty", dirty)
    yield
    assert guarded
    for whole in guarded:
        assert (whole[:64] == 7).all()
        assert (whole[-64:] == 7).all()


def arguments(shape, kind, *, bounded=True, dtype=torch.float64, seed=0):
    """Random candidate, forget, lower bound, theta and initial state; None for what the kind does not take."""
    *outer, channels = shape
    planes, rows, both = kind
    g = torch.Generator().manual_seed(seed)

    def random(*size):
        return torch.randn(size, generator=g, dtype=dtype).requires_grad_()

    x, forget = random(*outer, planes * channels), random(*outer, channels)
    bound = torch.rand(channels, generator=g, dtype=dtype).requires_grad_() if bounded else None
    theta = {0: None, 1: random(channels)}.get(rows, random(rows, channels))
    return x, forget, bound, theta, None if both or len(outer) > 2 else random(outer[0], planes * channels)


def some_lengths(batch, length):
    """Nothing, everything, and something between."""
    return torch.tensor([length // 2] if batch == 1 else [0, length, (length + 1) // 2])


def step(inputs, kind, *, backend="cpu", lengths=None, activation="silu", outputs=(True, True)):
    """Outputs and gradients of a fixed weighting of those that ``outputs`` names (h, final state)."""
    x, forget, bound, theta, initial = inputs
    options = {"activation": activation, "backend": backend}
    if x.ndim == 4:
        results = [hgru2d(x, forget, bound, theta, **options)]
    else:
        both = kind[2]
        options |= {"lengths": lengths, "initial_state": initial, "return_final_state": not both}
        h = hgru(x, forget, bound, theta, bidirectional=both, **options)
        results = [h] if both else list(h)
    chosen = [r for r, wanted in zip(results, outputs, strict=False) if wanted]
    g = torch.Generator().manual_seed(2)
    weights = [torch.randn(r.shape, generator=g, dtype=torch.float64).to(r.dtype) for r in chosen]
    leaves = [t for t in inputs if t is not None]
    return [*(r.detach() for r in results), *torch.autograd.grad(chosen, leaves, weights, allow_unused=True)]


def assert_near(actual, expected, tolerance, what=None):
    """The largest error of each tensor is at most ``tolerance`` of its largest value."""
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape
        if e.numel():
            assert (a.double() - e.double()).abs().max() <= tolerance * e.abs().max(), what


@pytest.mark.parametrize("channels", [1, 16, 130])
@pytest.mark.parametrize("length", [1, 2, CHUNK, CHUNK + 1, 4 * CHUNK + 1])
@pytest.mark.parametrize("batch", [1, 3])
def test_values_and_gradients_equal_the_reference(batch, length, channels):
    form = batch + length + channels  # each kind meets each form at some of the shapes
    for i, kind in enumerate(KINDS):
        activation, bounded, padded = FORMS[(form + i) % len(FORMS)]
        inputs = arguments((batch, length, channels), kind, bounded=bounded)
        options = {"activation": activation, "lengths": some_lengths(batch, length) if padded else None}
        expected = step(inputs, kind, **options, backend="reference")
        assert_near(step(inputs, kind, **options), expected, 1e-12, (kind, activation, bounded, padded))


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_equals_the_reference(kind, dirty_memory):
    for activation, bounded, padded in FORMS:
        inputs = arguments((3, CHUNK + 2, 5), kind, bounded=bounded)
        options = {"activation": activation, "lengths": some_lengths(3, CHUNK + 2) if padded else None}
        expected = step(inputs, kind, **options, backend="reference")
        assert_near(step(inputs, kind, **options), expected, 1e-12, (activation, bounded, padded))


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, CHUNK + 2, 5), (1, CHUNK + 1, 4, 130), (3, 2, 2, 16)])
def test_images_equal_the_reference(shape, dirty_memory):
    for form, (planes, rows) in enumerate([(1, 0), (2, 0), (2, 1), (2, 4)]):
        for activation, bounded, _ in FORMS[form % 2 :: 2]:
            inputs = arguments(shape, (planes, rows, True), bounded=bounded)
            expected = step(inputs, None, activation=activation, backend="reference")
            assert_near(step(inputs, None, activation=activation), expected, 1e-12, (planes, rows, activation))


@pytest.mark.parametrize("kind", KINDS)
def test_float32_stays_near_float64(kind):
    inputs = arguments((2, 300, 40), kind, dtype=torch.float32)
    double = [None if t is None else t.detach().double().requires_grad_() for t in inputs]
    assert_near(step(inputs, kind), step(double, kind), 2e-5)


@pytest.mark.parametrize("kind", [(1, 0, False), (2, 1, False), (2, 2, True)])
def test_gradcheck(kind):
    inputs = [t for t in arguments((2, 3, 2), kind) if t is not None]
    lengths = torch.tensor([3, 2])

    def run(x, forget, bound, *rest):
        theta = rest[0] if kind[1] else None
        initial = None if kind[2] else rest[-1]
        return hgru(
            x, forget, bound, theta, bidirectional=kind[2], lengths=lengths, initial_state=initial, backend="cpu"
        )

    assert gradcheck(run, inputs)


def test_gradcheck_of_an_image():
    inputs = arguments((1, 2, 3, 2), (2, 4, True))[:4]
    assert gradcheck(lambda *a: hgru2d(*a, backend="cpu"), inputs)


@pytest.mark.parametrize("outputs", [(True, False), (False, True)])
def test_each_output_alone_carries_its_gradient(outputs):
    kind = (2, 1, False)
    inputs = arguments((3, 20, 4), kind)
    options = {"lengths": some_lengths(3, 20), "outputs": outputs}
    expected = step(inputs, kind, **options, backend="reference")
    assert all(e.abs().max() > 0 for e in expected)
    assert_near(step(inputs, kind, **options), expected, 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_in_the_padding_changes_nothing(kind, dirty_memory):
    inputs = arguments((4, 37, 18), kind, dtype=torch.float32)
    lengths = torch.tensor([0, 37, 20, 16])
    padding = torch.arange(37) >= lengths.unsqueeze(1)
    clean = step(inputs, kind, lengths=lengths)
    garbage = [t.detach().clone() if t is not None else None for t in inputs]
    garbage[0][padding] = torch.nan
    garbage[1][padding] = torch.nan
    actual = step([None if t is None else t.requires_grad_() for t in garbage], kind, lengths=lengths)
    for a, e in zip(actual, clean, strict=True):
        assert torch.equal(a, e)
    h, dx, dforget = (t for t in actual if t.ndim == 3)
    for t in (h, dx, dforget):
        assert torch.equal(t[padding], torch.zeros_like(t[padding]))
        assert (t[~padding] != 0).any()
    # Nor does the incoming gradient there.
    x, forget, *rest = (None if t is None else t.detach() for t in inputs)
    dh = torch.where(padding.unsqueeze(2), torch.nan, torch.ones(4, 37, 18 * kind[0]))
    x.requires_grad_()
    h = hgru(x, forget, *rest[:2], bidirectional=kind[2], lengths=lengths, backend="cpu")
    assert torch.autograd.grad(h, x, dh)[0].isfinite().all()


def test_lengths_beyond_the_sequence_count_as_all_of_it_and_negative_ones_as_none():
    x, forget, bound, theta, _ = arguments((2, 9, 4), (2, 1, False))
    options = {"bidirectional": False, "backend": "cpu"}
    h = hgru(x, forget, bound, theta, lengths=torch.tensor([99, -5], dtype=torch.int32), **options)
    assert torch.equal(h, hgru(x, forget, bound, theta, lengths=torch.tensor([9, 0]), **options))


def test_padded_samples_equal_short_ones():
    x, forget, bound, theta, _ = arguments((1, 30, 6), (2, 2, True))
    whole = hgru(x, forget, bound, theta, bidirectional=True, lengths=torch.tensor([21]), backend="cpu")
    short = hgru(x[:, :21], forget[:, :21], bound, theta, bidirectional=True, backend="cpu")
    assert torch.equal(whole[:, :21], short)


def test_two_halves_with_the_state_handed_over_equal_one_run():
    x, forget, bound, theta, initial = arguments((2, 45, 6), (2, 1, False), dtype=torch.float32)

    def run(part, state):
        return hgru(
            x[:, part], forget[:, part], bound, theta, bidirectional=False, initial_state=state,
            return_final_state=True, backend="cpu",
        )  # fmt: skip

    whole, end = run(slice(None), initial)
    first, middle = run(slice(None, 19), initial)
    second, final = run(slice(19, None), middle)
    assert torch.equal(torch.cat([first, second], dim=1), whole)
    assert torch.equal(final, end)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gate_near_one_loses_no_digits_of_what_is_written(kind):
    # λ rounds to 1 in float32; what remains, 2e-9 of the candidate a step, is still added up to float32 precision.
    x, forget, _, theta, _ = arguments((1, 200, 8), kind, dtype=torch.float32)
    forget = forget.detach() + 20
    h = hgru(x, forget, None, theta, bidirectional=kind[2], backend="cpu")
    double = [None if t is None else t.double() for t in (x, forget, None, theta)]
    exact = hgru(*double, bidirectional=kind[2], backend="reference")
    assert 0 < exact.abs().max() < 1e-6
    assert_near([h], [exact], 1e-5)


@pytest.mark.parametrize("kind", [(2, 1, False), (2, 2, True)])
def test_sums_over_a_long_sequence_keep_float32_precision(kind):
    length = 50_000
    results = []
    for dtype in (torch.float32, torch.float64):
        x, forget, bound, theta, _ = arguments((1, length, 2), kind, dtype=torch.float32)
        # The same at every step, so that all roundings of a sum go one way; and a memory of few steps.
        x, forget = x.detach()[:, :1].expand_as(x) + 3, forget.detach()[:, :1].expand_as(forget) - 3
        leaves = [t.detach().to(dtype).requires_grad_() for t in (bound, theta)]
        h = hgru(x.to(dtype), forget.to(dtype), *leaves, bidirectional=kind[2], backend="cpu")
        results.append(torch.autograd.grad(h, leaves, torch.ones_like(h)))
    assert_near(*results, 3e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sigmoids_at_all_magnitudes(dtype):
    # One step from a state of one: h is the gate where nothing is written, and 1 - λ where a candidate of one is.
    forget = torch.cat([torch.linspace(-30, 30, 6001), torch.tensor([-torch.inf, -1e5, -100, 100, 1e5, torch.inf])])
    forget = forget.to(dtype).view(1, 1, -1)
    zero = torch.zeros_like(forget)
    options = {"bidirectional": False, "activation": "identity", "backend": "cpu"}
    keep = hgru(zero, forget, initial_state=torch.ones_like(forget[0]), **options)
    write = hgru(zero + 1, forget, **options)
    silu = hgru(forget[..., :-6], zero[..., :-6], bidirectional=False, backend="cpu")
    ulp = torch.finfo(dtype).eps
    for a, e in ((keep, torch.sigmoid(forget.double())), (write, torch.sigmoid(-forget.double()))):
        error = (a.double() - e).abs()[..., :-6]
        # The rounding of x itself moves e^x by |x| times as much.
        assert (error <= 2 * ulp * e[..., :-6] * (1 + forget[..., :-6].abs() / 8)).all()
    assert_near([silu], [torch.nn.functional.silu(forget[..., :-6].double()) / 2], 2 * ulp)
    expected = torch.tensor([0.0, 0, 0, 1, 1, 1], dtype=dtype)
    torch.testing.assert_close(keep[0, 0, -6:], expected, rtol=ulp, atol=1e-35)
    torch.testing.assert_close(write[0, 0, -6:], 1 - expected, rtol=ulp, atol=1e-35)


@pytest.mark.parametrize("kind", [(2, 1, False), (2, 0, True)])
def test_inf_and_nan_stay_in_their_channel(kind):
    x, forget, bound, theta, _ = (None if t is None else t.detach() for t in arguments((2, 30, 20), kind))
    run = {"bidirectional": kind[2], "backend": "cpu"}
    clean = hgru(x, forget, bound, theta, **run)
    x[1, 5, 3], x[0, 2, 27], forget[1, 9, 11] = torch.nan, torch.inf, torch.nan
    h = hgru(x, forget, bound, theta, **run)
    bad = ~h.isfinite()
    assert bad[1, 5:, 3].all()
    assert bad[0, 2:, 27].all()
    assert bad[1, 9:, [11, 31]].all()
    assert torch.equal(h[~bad], clean[~bad])
    bad[1][:, [3, 23, 11, 31]] = bad[0][:, [7, 27]] = False
    assert not bad.any()


@pytest.mark.parametrize("both", [False, True])
def test_half_precision_keeps_a_float32_state(both):
    inputs = arguments((2, 200, 8), (2, 1, both), dtype=torch.float32)
    half = [t.detach().bfloat16().requires_grad_() for t in inputs[:2]] + list(inputs[2:])
    double = [None if t is None else t.detach().double().requires_grad_() for t in half]
    dh = torch.randn(2, 200, 16).bfloat16()
    results = []
    for x, forget, bound, theta, initial in (half, double):
        h = hgru(x, forget, bound, theta, bidirectional=both, initial_state=initial, backend="cpu")
        leaves = [t for t in (x, forget, bound, theta, initial) if t is not None]
        results.append([h, *torch.autograd.grad(h, leaves, dh.to(h.dtype))])
    for a, e, like in zip(*results, [half[0], *(t for t in half if t is not None)], strict=True):
        assert a.dtype == like.dtype
        assert (a.double() - e).abs().max() <= (2**-8 if a.dtype == torch.bfloat16 else 1e-5) * e.abs().max()


def test_non_contiguous_inputs_give_the_same_bits():
    for kind in ((2, 1, False), (2, 2, True)):
        x, forget, bound, theta, initial = inputs = arguments((3, 40, 16), kind)
        expected = step(inputs, kind)
        wide = torch.cat([x, forget, forget], dim=2).detach()
        for x_, forget_ in (
            (wide[..., :32], wide[..., 32:48]),
            (x.transpose(0, 1).contiguous().transpose(0, 1), forget.mT.contiguous().mT),
        ):
            leaves = [t.detach().requires_grad_() for t in (x_, forget_)]
            actual = step([*leaves, bound, theta, initial], kind)
            assert all(torch.equal(a, e) for a, e in zip(actual, expected, strict=True))
    x, forget, bound, theta, _ = inputs = arguments((2, 5, 19, 6), (2, 4, True))
    turned = [t.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_() for t in (x, forget)]
    expected, actual = step(inputs, None), step([*turned, bound, theta, None], None)
    assert all(torch.equal(a, e) for a, e in zip(actual, expected, strict=True))


@pytest.mark.parametrize(("batch", "length"), [(0, 5), (3, 0)])
@pytest.mark.parametrize("both", [False, True])
def test_empty_inputs(batch, length, both):
    kind = (2, 1, both)
    inputs = arguments((batch, length, 4), kind)
    expected = step(inputs, kind, backend="reference")
    for a, e in zip(step(inputs, kind), expected, strict=True):
        assert torch.equal(a, torch.zeros_like(a) if e is None else e)


@pytest.mark.parametrize("both", [False, True])
def test_a_training_step_allocates_its_outputs_and_the_states_between_chunks(both):
    x, forget, _, theta, _ = arguments((2, 1024, 32), (2, 1, both), bounded=False, dtype=torch.float32)

    def train():
        h = hgru(x, forget, None, theta, bidirectional=both, backend="cpu")
        return torch.autograd.grad(h, (x, forget, theta), h)

    train()  # compiles
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        train()
    events = profiler.profiler.kineto_results.events()
    allocated = sum(e.nbytes() for e in events if e.name() == "[memory]" and e.nbytes() > 0)
    between = (3 if both else 1) * x.numel() / CHUNK  # of each direction, and the adjoints of one
    assert allocated <= 4 * (1.1 * (2 * x.numel() + forget.numel()) + between)


def test_the_operator_refuses_both_directions_of_a_plain_scan():
    x = torch.ones(1, 2, 3)
    with pytest.raises(ValueError, match="takes an activation"):
        torch.ops.hgrn_kernels.cpu_recurrence(x, x, None, None, None, None, None, True, False, False, False)
