"""The HGRU for images and HGRN2 against loops over single steps, written in numpy."""

import numpy as np
import pytest
import torch

from lra_hgrn.errors import UserError
from lra_hgrn.models.mixers.hgrn2 import CHUNK, HGRN2, outer_product_scan
from lra_hgrn.models.mixers.hgru import HGRU
from lra_hgrn.models.mixers.hgru2d import HGRU2D


def jittered(mixer):
    """A mixer in float64, away from its initial values, so that every parameter counts."""
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return mixer.double()


def arrays(module):
    return {name: p.detach().numpy() for name, p in module.named_parameters()}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def linear(x, p, name):
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def layer_norm(x, p):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * p["norm.weight"] + p["norm.bias"]


# The HGRU for images

IMAGE_VARIANTS = [
    {},
    {"complex": False},
    {"share_theta": True},
    {"rotation": False},
    {"candidate": "tanh"},
    {"candidate": "identity"},
    {"output": "paper"},
    {"output_gate": False},
    {"input_forget": False},
]


def published_image_unit(p, x, gamma, side, options):
    """The authors' 2-D unit on one image x (side², d): four scans of the same gated inputs, added."""
    d = x.shape[-1]
    width = d if options.get("complex") is False else 2 * d
    z = linear(x, p, "in_proj")
    activation = {"silu": silu, "tanh": np.tanh, "identity": np.positive}[options.get("candidate", "silu")]
    c = activation(z[:, :width])
    g = silu(z[:, width : 2 * width]) if options.get("output_gate", True) else 1
    forget = z[:, -d:] if options.get("input_forget", True) else np.tile(p["forget"], (side**2, 1))
    lam = gamma + (1 - gamma) * sigmoid(forget)
    if width > d:
        c = c[:, :d] + 1j * c[:, d:]
    theta = p.get("theta", np.zeros((1, d)))
    c, lam, h = (a.reshape(side, side, d) for a in (c, lam, np.zeros_like(c)))
    for axis in (0, 1):
        for row, onwards in ((0, True), (-1, False)):
            turn = np.exp(1j * theta[row]) if width > d else 1
            state = np.zeros((side, d), dtype=c.dtype)
            for t in range(side) if onwards else reversed(range(side)):
                at = (t, slice(None)) if axis == 0 else (slice(None), t)
                state = lam[at] * turn * state + (1 - lam[at]) * c[at]
                h[at] += state
    h = h.reshape(side**2, d)
    h = np.concatenate([h.real, h.imag], axis=-1) if width > d else h
    mixed = layer_norm(g * h, p) if options.get("output") == "paper" else layer_norm(h, p) * g
    return linear(mixed, p, "out_proj")


@pytest.mark.parametrize("options", IMAGE_VARIANTS, ids=str)
def test_image_unit_is_the_published_one(options):
    torch.manual_seed(0)
    mixer, x, gamma = jittered(HGRU2D(4, 5, **options)), torch.randn(2, 25, 4).double(), torch.rand(4).double()
    for bound in (None, gamma):
        want = [
            published_image_unit(arrays(mixer), a.numpy(), 0 if bound is None else gamma.numpy(), 5, options) for a in x
        ]
        np.testing.assert_allclose(mixer(x, lower_bound=bound).detach(), np.stack(want), rtol=1e-9, atol=1e-10)


def test_image_unit_of_one_row_of_pixels_sees_four_directions():
    """A pixel sees its row and its column only, and every pixel of them."""
    torch.manual_seed(0)
    mixer, x = HGRU2D(4, 5), torch.randn(1, 25, 4, requires_grad=True)
    mixer(x)[0, 12].sum().backward()
    seen = (x.grad[0].abs().sum(-1) > 0).view(5, 5)
    assert seen[2].all()
    assert seen[:, 2].all()
    assert seen.sum() == 9


def test_image_unit_says_what_it_is():
    mixer = HGRU2D(4, 5)
    assert mixer.departures == ("Scans rows and columns of the image (2-D).",)
    assert mixer.causal is False
    assert (mixer.uses_lower_bound, HGRU2D(4, 5, lower_bound=False).uses_lower_bound) == (True, False)
    assert mixer.recurrence_parameters == ("theta",)
    twin = HGRU(4)
    twin.load_state_dict(mixer.state_dict())
    x, gamma = torch.randn(1, 25, 4), torch.rand(4)
    assert torch.equal(mixer.forget_gates(x, None, gamma), twin.forget_gates(x, None, gamma))


def test_image_unit_needs_an_image():
    with pytest.raises(UserError, match="hgru2d scans images, and this task has none"):
        HGRU2D(4, side=0)
    with pytest.raises(UserError, match=r"model\.kwargs\.side=5 scans 25 positions, not 24"):
        HGRU2D(4, 5)(torch.zeros(1, 24, 4))


# HGRN2


def published_hgrn2(p, x, gamma, heads, causal=False, query="silu", candidate="identity", **_):
    """HGRN2 on one sequence x (L, d), with one outer product a step and head."""
    length, d = x.shape
    n = d // heads
    q, f, c = np.split(linear(x, p, "in_proj"), 3, axis=-1)
    q = silu(q) if query == "silu" else sigmoid(q)
    c = silu(c) if candidate == "silu" else c
    lam = gamma + (1 - gamma) * sigmoid(f)
    o = np.zeros((length, d))
    for h in range(heads):
        s = slice(h * n, (h + 1) * n)
        for steps in [range(length)] if causal else [range(length), reversed(range(length))]:
            state = np.zeros((n, n))
            for t in steps:
                state = lam[t, s, None] * state + np.outer(1 - lam[t, s], c[t, s])
                o[t, s] += q[t, s] @ state
    return linear(layer_norm(o, p), p, "out_proj")


HGRN2_VARIANTS = [
    {"heads": 2},
    {"heads": 1},
    {"heads": 6},
    {"heads": 2, "causal": True},
    {"heads": 2, "query": "sigmoid"},
    {"heads": 2, "candidate": "silu"},
]


@pytest.mark.parametrize("options", HGRN2_VARIANTS, ids=str)
@pytest.mark.parametrize("length", [1, 7, CHUNK, 3 * CHUNK + 5])
def test_hgrn2_is_the_published_unit(options, length):
    torch.manual_seed(0)
    mixer, x, gamma = jittered(HGRN2(6, **options)), torch.randn(2, length, 6).double(), torch.rand(6).double()
    for bound in (None, gamma):
        want = [published_hgrn2(arrays(mixer), a.numpy(), 0 if bound is None else gamma.numpy(), **options) for a in x]
        np.testing.assert_allclose(mixer(x, lower_bound=bound).detach(), np.stack(want), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("causal", [False, True])
def test_padding_of_hgrn2_changes_nothing(causal):
    torch.manual_seed(0)
    mixer, x = jittered(HGRN2(6, heads=2, causal=causal)), torch.randn(2, 90, 6).double()
    lengths = torch.tensor([90, 41])
    mask = torch.arange(90) < lengths[:, None]
    y = mixer(100 * x.masked_fill(mask[..., None], 0) + x.masked_fill(~mask[..., None], 0), mask)
    for b, length in enumerate(lengths):
        torch.testing.assert_close(y[b, :length], mixer(x[b : b + 1, :length])[0], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("slow", [0.0, 40.0, -40.0, 200.0, -200.0])
def test_hgrn2_is_stable_at_extreme_gates(slow):
    """Outputs and gradients stay finite and right where λ rounds to 0 or 1, in float32."""
    torch.manual_seed(0)
    mixer = HGRN2(4, heads=2)
    with torch.no_grad():
        mixer.in_proj.bias[4:8] += slow * torch.tensor([1, -1, 1, 0])
    x = torch.randn(1, 130, 4, requires_grad=True)
    gamma = torch.tensor([0.0, 0.0, 0.9, 0.5], requires_grad=True)
    y = mixer(x, lower_bound=gamma)
    (y * torch.randn_like(y)).sum().backward()
    for gradient in (x.grad, gamma.grad, *(p.grad for p in mixer.parameters())):
        assert gradient.isfinite().all()
    want = published_hgrn2(arrays(mixer.double()), x[0].detach().double().numpy(), gamma.detach().double().numpy(), 2)
    np.testing.assert_allclose(y[0].detach(), want, rtol=1e-3, atol=1e-3)


def test_outer_product_scan_forgets_and_remembers_exactly():
    """One gate of 0 in a run of gates of 1: what came before is gone, what came after is kept whole."""
    log_gate = torch.zeros(1, 1, 100, 1)
    log_gate[:, :, 45] = -1e30
    ones = torch.ones_like(log_gate)
    o = outer_product_scan(ones, log_gate, ones, ones)[0, 0, :, 0]
    assert torch.equal(o, torch.cat([torch.arange(1.0, 46), torch.arange(1.0, 56)]))


def test_derivatives_of_the_outer_product_scan():
    torch.manual_seed(0)
    q, gate, k, c = (torch.randn(1, 2, 2 * CHUNK + 3, 2).double().requires_grad_() for _ in range(4))

    def loop(q, log_gate, k, c):
        state, outputs = 0, []
        for t in range(q.shape[2]):
            state = log_gate[:, :, t, :, None].exp() * state + k[:, :, t, :, None] * c[:, :, t, None]
            outputs.append((q[:, :, t, None] @ state).squeeze(2))
        return torch.stack(outputs, dim=2)

    weight = torch.randn_like(q)
    got, want = (
        torch.autograd.grad((f(q, -gate.square(), k, c) * weight).sum(), (q, gate, k, c))
        for f in (outer_product_scan, loop)
    )
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_hgrn2_computes_in_float32_under_autocast():
    """bfloat16 would round this forget gate to 1."""
    torch.manual_seed(0)
    mixer = HGRN2(4, heads=2, causal=True)
    with torch.no_grad():
        mixer.in_proj.weight[4:8] = 0
        mixer.in_proj.bias[4:8] = 6.5
        x = torch.randn(1, 500, 4)
        want = mixer(x)
        with torch.autocast("cpu", torch.bfloat16):
            y = mixer(x)
            gates = mixer.forget_gates(x)
            _, state = mixer.step(x[:, 0])
    assert y.dtype == torch.bfloat16
    assert gates.dtype == state.dtype == torch.float32
    np.testing.assert_allclose(gates, sigmoid(6.5), rtol=1e-6)
    torch.testing.assert_close(y.float(), want, rtol=0.1, atol=0.1)


def test_forget_gates_of_hgrn2():
    torch.manual_seed(0)
    mixer, x, gamma = HGRN2(4, heads=2).double(), torch.randn(2, 5, 4).double(), torch.rand(4).double()
    mu = sigmoid(np.split(linear(x.numpy(), arrays(mixer), "in_proj"), 3, axis=-1)[1])
    np.testing.assert_allclose(mixer.forget_gates(x).detach(), mu, rtol=1e-12)
    bounded = mixer.forget_gates(x, lower_bound=gamma)
    np.testing.assert_allclose(bounded.detach(), gamma.numpy() + (1 - gamma.numpy()) * mu, rtol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_steps_of_hgrn2_are_the_parallel_form(dtype, tolerance):
    torch.manual_seed(0)
    mixer = HGRN2(4, heads=2, causal=True).to(dtype).eval()
    x, gamma = torch.randn(2, 16384, 4, dtype=dtype), torch.tensor([0, 0.5, 0.9, 0.999], dtype=dtype)
    state, steps = None, []
    with torch.no_grad():
        for t in range(x.shape[1]):
            y, state = mixer.step(x[:, t], state, gamma)
            steps.append(y)
        want = mixer(x, lower_bound=gamma)
    assert state.shape == (2, 2, 2, 2)
    torch.testing.assert_close(torch.stack(steps, dim=1), want, rtol=tolerance, atol=tolerance)


def test_impossible_options_of_hgrn2_are_user_errors():
    for heads in (3, 0):
        with pytest.raises(UserError, match=rf"multiple of model\.kwargs\.heads={heads}"):
            HGRN2(8, heads=heads)
    with pytest.raises(UserError, match=r"model\.kwargs\.causal=true"):
        HGRN2(8).step(torch.randn(2, 8))
    assert not HGRN2(8, lower_bound=False).uses_lower_bound
