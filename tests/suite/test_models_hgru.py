"""HGRU and the whole classifier against the published formulas, written a second time in numpy, one step at a time."""

import math

import numpy as np
import pytest
import torch

from lra_hgrn.config import ModelConfig
from lra_hgrn.errors import UserError
from lra_hgrn.models import build_classifier, hgrn_gates, parameter_groups
from lra_hgrn.models.lower_bound import LowerBound
from lra_hgrn.models.mixers import hgru
from lra_hgrn.models.mixers.hgru import HGRU
from lra_tasks import TaskSpec

VARIANTS = [
    {},
    {"share_theta": True},
    {"causal": True},
    {"complex": False},
    {"complex": False, "causal": True},
    {"output": "paper"},
    {"output": "paper", "complex": False},
    {"output_gate": False},
    {"input_forget": False},
    {"rotation": False},
    {"rotation": False, "causal": True, "candidate": "tanh"},
    {"candidate": "tanh"},
    {"candidate": "identity"},
]


def arrays(module):
    return {name: p.detach().double().numpy() for name, p in module.named_parameters()}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def layer_norm(x, p, name):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * p[f"{name}.weight"] + p[f"{name}.bias"]


def linear(x, p, name):
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def published_hgru(p, x, gamma, prefix="", complex=True, causal=False, output="released", **ablation):
    """HGRU on one sequence x (L, d) without padding, after the table of formulas of the paper."""
    p = {name.removeprefix(prefix): value for name, value in p.items() if name.startswith(prefix)}
    length, d = x.shape
    state = 2 * d if complex else d
    z = linear(x, p, "in_proj")
    activation = {"silu": silu, "tanh": np.tanh, "identity": np.positive}[ablation.get("candidate", "silu")]
    c, z = activation(z[:, :state]), z[:, state:]
    if ablation.get("output_gate", True):
        g, z = silu(z[:, :state]), z[:, state:]
    mu = sigmoid(z) if ablation.get("input_forget", True) else np.tile(sigmoid(p["forget"]), (length, 1))
    lam = gamma + (1 - gamma) * mu
    if complex:
        c = c[:, :d] + 1j * c[:, d:]

    def run(theta, steps):
        h, states = np.zeros(d, dtype=c.dtype), {}
        for t in steps:
            turn = 1 if theta is None else np.exp(1j * theta)
            h = lam[t] * turn * h + (1 - lam[t]) * c[t]
            states[t] = h
        return np.stack([states[t] for t in range(length)])

    theta = p.get("theta")
    h = run(None if theta is None else theta[0], range(length))
    if not causal:
        h = h + run(None if theta is None else theta[-1], reversed(range(length)))
    h = np.concatenate([h.real, h.imag], axis=-1) if complex else h
    if not ablation.get("output_gate", True):
        mixed = layer_norm(h, p, "norm")
    elif output == "released":
        mixed = layer_norm(h, p, "norm") * g
    else:
        mixed = layer_norm(g * h, p, "norm")
    return linear(mixed, p, "out_proj")


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_hgru_is_the_published_unit(options):
    torch.manual_seed(0)
    mixer = HGRU(6, **options).double()
    with torch.no_grad():  # away from the initial values, so that every parameter counts
        for parameter in mixer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    x, gamma = torch.randn(2, 11, 6).double(), torch.rand(6).double()
    want = [published_hgru(arrays(mixer), sample.numpy(), gamma.numpy(), **options) for sample in x]
    np.testing.assert_allclose(mixer(x, lower_bound=gamma).detach(), np.stack(want), rtol=1e-9, atol=1e-10)
    want = [published_hgru(arrays(mixer), sample.numpy(), 0, **options) for sample in x]
    np.testing.assert_allclose(mixer(x).detach(), np.stack(want), rtol=1e-9, atol=1e-10)


def test_each_option_changes_the_unit():
    outputs = []
    for options in VARIANTS:
        torch.manual_seed(0)
        mixer = HGRU(6, **options).double()
        if "theta" in dict(mixer.named_parameters()):
            with torch.no_grad():
                mixer.theta += torch.arange(len(mixer.theta))[:, None]
        with torch.no_grad():
            mixer.norm.weight.copy_(torch.arange(mixer.norm.weight.numel()))
        outputs.append(mixer(torch.ones(1, 4, 6).double()))
    for i, a in enumerate(outputs):
        assert not any(torch.allclose(a, b) for b in outputs[:i]), VARIANTS[i]


def test_theta_starts_at_the_published_frequencies():
    theta = HGRU(4).theta
    want = [10000 ** (-2 * j / 4) for j in range(4)]
    np.testing.assert_allclose(theta.detach(), [want, want], rtol=1e-6)
    assert HGRU(4, share_theta=True).theta.shape == HGRU(4, causal=True).theta.shape == (1, 4)


def test_lower_bounds_grow_from_zero_and_stay_under_one():
    bound = LowerBound(4, 3)
    np.testing.assert_allclose(bound().detach(), np.outer([0, 0.25, 0.5, 0.75], np.ones(3)), atol=1e-6)
    with torch.no_grad():
        bound.gamma.copy_(torch.randn(4, 3))
    shares = np.exp(bound.gamma.detach().numpy())
    shares /= shares.sum(0)
    want = [shares[:k].sum(0) for k in range(4)]
    np.testing.assert_allclose(bound().detach(), want, rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"output_gate": False}, {"input_forget": False}, {"complex": False}], ids=str)
def test_forget_gates_are_those_of_the_recurrence(options):
    torch.manual_seed(0)
    mixer, x, gamma = HGRU(6, **options).double(), torch.randn(2, 5, 6).double(), torch.rand(6).double()
    p = arrays(mixer)
    logits = linear(x.numpy(), p, "in_proj")[..., -6:] if options != {"input_forget": False} else p["forget"]
    want = np.broadcast_to(sigmoid(logits), (2, 5, 6))
    np.testing.assert_allclose(mixer.forget_gates(x).detach(), want, rtol=1e-12)
    bounded = mixer.forget_gates(x, lower_bound=gamma)
    np.testing.assert_allclose(bounded.detach(), gamma.numpy() + (1 - gamma.numpy()) * want, rtol=1e-12)
    with torch.autocast("cpu", torch.bfloat16):
        assert mixer.float().forget_gates(x.float()).dtype == torch.float32


STEPS = [{}, {"complex": False, "candidate": "tanh"}, {"output_gate": False, "input_forget": False, "rotation": False}]


@pytest.mark.parametrize("options", STEPS, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_steps_are_the_parallel_form(options, dtype, tolerance):
    torch.manual_seed(0)
    mixer = HGRU(4, causal=True, **options).to(dtype).eval()
    x, gamma = torch.randn(2, 16384, 4, dtype=dtype), torch.tensor([0, 0.5, 0.9, 0.999], dtype=dtype)
    state, steps = None, []
    with torch.no_grad():
        for t in range(x.shape[1]):
            y, state = mixer.step(x[:, t], state, gamma)
            steps.append(y)
        want = mixer(x, lower_bound=gamma)
    assert state.shape == (2, 4 if "complex" in options else 8)
    assert state.dtype == dtype
    torch.testing.assert_close(torch.stack(steps, dim=1), want, rtol=tolerance, atol=tolerance)


def test_steps_keep_a_float32_state_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        y, state = HGRU(4, causal=True).step(torch.randn(2, 4))
    assert (y.dtype, state.dtype) == (torch.bfloat16, torch.float32)


def test_both_directions_have_no_steps():
    with pytest.raises(UserError, match=r"model\.kwargs\.causal=true"):
        HGRU(4).step(torch.randn(2, 4))


def bare_unit(forget):
    """A real causal HGRU of the candidate SiLU(1) and one forget logit at every step, without norm and projection."""
    mixer = HGRU(2, complex=False, causal=True, output_gate=False)
    with torch.no_grad():
        mixer.in_proj.weight.zero_()
        mixer.in_proj.bias.copy_(torch.tensor([1.0, 1.0, forget, forget]))
    mixer.norm = mixer.out_proj = torch.nn.Identity()
    return mixer


def test_one_minus_lambda_keeps_its_digits():
    h = bare_unit(30.0)(torch.randn(1, 1, 2), lower_bound=torch.full((2,), 0.5))
    np.testing.assert_allclose(h.detach(), np.full((1, 1, 2), 0.5 / (1 + math.exp(30)) * silu(1)), rtol=1e-5)


def test_forget_gates_near_one_are_not_rounded_under_autocast():
    """bfloat16 has no value between 0.996 and 1: rounded to 1, this forget gate would never forget."""
    with torch.autocast("cpu", torch.bfloat16):
        h = bare_unit(6.5)(torch.randn(1, 500, 2))
    assert h.dtype == torch.bfloat16
    want = silu(1) * (1 - sigmoid(6.5) ** 500)
    np.testing.assert_allclose(h[0, -1].float().detach(), [want, want], rtol=2**-8)


def test_autocast_makes_no_float32_copies(monkeypatch):
    seen = {}

    def spy(module, name):
        function = getattr(module, name)

        def call(*tensors, **options):
            y = function(*tensors, **options)
            seen[name] = [t.dtype for t in (*tensors, y)]
            return y

        monkeypatch.setattr(module, name, call)

    spy(hgru, "hgru")
    spy(hgrn_gates, "gated_norm")
    with torch.autocast("cpu", torch.bfloat16):
        HGRU(8)(torch.randn(2, 5, 8), lower_bound=torch.rand(8))
    half, full = torch.bfloat16, torch.float32
    # Activations, then parameters, then what comes out.
    assert seen == {"hgru": [half, half, full, full, half], "gated_norm": [half, half, full, full, half]}


def published_classifier(p, first, second, layers, d):
    """Logits of one pair of documents: embedding, sinusoids, pre-norm blocks, lower bounds, pooling, head."""
    shares = np.exp(p["lower_bound.gamma"])
    shares /= shares.sum(0)
    pooled = []
    for tokens in (first, second):
        x = p["embedding.tokens.weight"][tokens]
        for t in range(len(tokens)):
            for i in range(0, d, 2):
                x[t, i] += math.sin(t / 10000 ** (i / d))
                x[t, i + 1] += math.cos(t / 10000 ** (i / d))
        for k in range(layers):
            block = f"blocks.{k}"
            gamma = sum((shares[j] for j in range(k)), np.zeros(d))
            x = x + published_hgru(p, layer_norm(x, p, f"{block}.token_norm"), gamma, f"{block}.token_mixer.")
            w1, w2 = np.split(p[f"{block}.channel_mixer.in_proj.weight"], 2)
            y = layer_norm(x, p, f"{block}.channel_norm")
            x = x + (silu(y @ w1.T) * (y @ w2.T)) @ p[f"{block}.channel_mixer.out_proj.weight"].T
        pooled.append(layer_norm(x, p, "norm").mean(0))
    u, v = pooled
    hidden = np.maximum(linear(np.concatenate([u, v, u - v, u * v]), p, "head.mlp.0"), 0)
    return linear(hidden, p, "head.mlp.2")


def test_classifier_is_the_published_model():
    torch.manual_seed(0)
    spec = TaskSpec("pairs", "tokens", vocab_size=11, n_classes=2, max_length=16, documents=2)
    config = ModelConfig(name="hgrn", layers=3, d_model=6, expansion=2, positions="sinusoidal")
    net = build_classifier(spec, config).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    lengths = torch.tensor([9, 4, 5, 12])  # two pairs: (9, 5) and (4, 12)
    inputs = torch.randint(1, 11, (4, 12))
    inputs[torch.arange(12) >= lengths[:, None]] = 0
    documents = [row[:length].numpy() for row, length in zip(inputs, lengths, strict=True)]
    want = [published_classifier(arrays(net), documents[i], documents[i + 2], 3, 6) for i in range(2)]
    # The table of positions is float32.
    np.testing.assert_allclose(net(inputs, lengths).detach(), want, rtol=1e-5, atol=1e-6)


def test_recurrence_parameters_are_theta_gamma_and_constant_gates():
    spec = TaskSpec("text", "tokens", vocab_size=11, n_classes=2, max_length=16)
    net = build_classifier(spec, ModelConfig(name="x", kwargs={"input_forget": False}, positions="learned"))
    names = {id(p): name for name, p in net.named_parameters()}
    groups = {kind: {names[id(p)] for p in group} for kind, group in parameter_groups(net).items()}
    assert groups["recurrence"] == {
        "lower_bound.gamma",
        *(f"blocks.{k}.token_mixer.{name}" for k in range(2) for name in ("theta", "forget")),
    }
    assert {"embedding.table", "embedding.tokens.weight", "head.weight"} <= groups["decay"]
    assert {"norm.weight", "norm.bias", "head.bias"} <= groups["no_decay"]
    assert sum(map(len, groups.values())) == len(names)
