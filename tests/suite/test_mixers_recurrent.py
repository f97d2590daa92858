"""State-space, recurrent and convolution mixers against recurrences over single steps, written in numpy."""

import math

import numpy as np
import pytest
import torch

from lra_hgrn.errors import UserError
from lra_hgrn.models.mixers.conv import Conv
from lra_hgrn.models.mixers.ema import EMA
from lra_hgrn.models.mixers.lru import LRU
from lra_hgrn.models.mixers.lstm import LSTM
from lra_hgrn.models.mixers.mingru import MinGRU
from lra_hgrn.models.mixers.s4d import S4D, expm1
from lra_hgrn.models.mixers.s5 import S5
from lra_hgrn.models.parameters import parameter_groups


def jittered(mixer):
    """A mixer in float64, away from its initial values, so that every parameter counts."""
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return mixer.double()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gelu(x):
    return x * np.vectorize(lambda a: (1 + math.erf(a / math.sqrt(2))) / 2)(x)


def linear(x, p, name):
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def glu(x):
    first, second = np.split(x, 2, axis=-1)
    return first * sigmoid(second)


def run(step, x, state):
    """Return the states h_t = step(h_{t−1}, x_t) along x."""
    states = []
    for value in x:
        state = step(state, value)
        states.append(state)
    return np.stack(states)


def both(states_of, x, causal):
    """Return the states onwards and, unless causal, those on the way back; each in the order of x."""
    return [states_of(0, x)] if causal else [states_of(0, x), states_of(1, x[::-1])[::-1]]


def later(states):
    """Return at each position the state of the next one, 0 at the last."""
    return np.concatenate([states[1:], np.zeros_like(states[:1])])


# One function a mixer: its parameters p as arrays, one sample x (L, d) without padding, the mixer's options.


def published_s4d(p, x, causal, gate=True, **_):
    a = -np.exp(p["log_a_real"]) + 1j * p["a_imag"]
    dt = np.exp(p["log_dt"])[:, None]
    a_bar = np.exp(dt * a)
    b_bar = (a_bar - 1) / a
    c = p["c"][..., 0] + 1j * p["c"][..., 1]
    states = both(lambda _, u: run(lambda h, v: a_bar * h + b_bar * v[:, None], u, np.zeros_like(a)), x, causal)
    y = 2 * (c[0] * states[0]).sum(-1).real + p["d"] * x
    if not causal:
        y += 2 * (c[1] * later(states[1])).sum(-1).real
    y = linear(gelu(y), p, "out_proj")
    return glu(y) if gate else y


def published_s5(p, x, causal, gate=True, **_):
    eigenvalues = np.minimum(p["lambda_real"], -1e-4) + 1j * p["lambda_imag"]
    a_bar = np.exp(eigenvalues * np.exp(p["log_step"]))
    b_bar = ((a_bar - 1) / eigenvalues)[:, None] * (p["b"][0] + 1j * p["b"][1])
    y = p["d"] * x
    states = both(lambda _, u: run(lambda h, v: a_bar * h + b_bar @ v, u, np.zeros_like(a_bar)), x, causal)
    for direction, h in enumerate(states):
        y = y + 2 * (h @ (p["c"][:, direction, 0] + 1j * p["c"][:, direction, 1]).T).real
    z = gelu(y)
    return z * sigmoid(linear(z, p, "gate_proj")) if gate else z


def published_lru(p, x, causal, **_):
    lam = np.exp(-np.exp(p["nu_log"]) + 1j * np.exp(p["theta_log"]))
    b = np.exp(p["gamma_log"])[:, None] * (p["b"][0] + 1j * p["b"][1])
    y = p["d"] * x
    states = both(lambda _, u: run(lambda h, v: lam * h + b @ v, u, np.zeros_like(lam)), x, causal)
    for direction, h in enumerate(states):
        y = y + (h @ (p["c"][:, direction, 0] + 1j * p["c"][:, direction, 1]).T).real
    return glu(linear(gelu(y), p, "out_proj"))


def published_mingru(p, x, causal, candidate="positive"):
    d = x.shape[-1]
    projected = linear(x, p, "in_proj")
    c, z = projected[:, :d], sigmoid(projected[:, d:])
    if candidate == "positive":
        c = np.where(c >= 0, c + 0.5, sigmoid(c))
    steps = np.stack([c, z], axis=1)
    states = both(lambda _, u: run(lambda h, v: (1 - v[1]) * h + v[1] * v[0], u, np.zeros(d)), steps, causal)
    return linear(sum(states), p, "out_proj")


def published_ema(p, x, causal, **_):
    alpha, delta = sigmoid(p["alpha"]), sigmoid(p["delta"])
    zero = np.zeros_like(alpha[0])

    def states_of(i, u):
        return run(lambda h, v: alpha[i] * p["beta"][i] * v[:, None] + (1 - alpha[i] * delta[i]) * h, u, zero)

    states = both(states_of, x, causal)
    y = sum((eta * h).sum(-1) for eta, h in zip(p["eta"], states, strict=True))
    y = y / np.sqrt(alpha.shape[-1]) + p["omega"] * x
    return y * sigmoid(y)


def published_conv(p, x, causal, kernel=5):
    before = kernel - 1 if causal else kernel // 2
    y = np.zeros_like(x)
    for t in range(len(x)):
        for k in range(kernel):
            if 0 <= t + k - before < len(x):
                y[t] += p["conv.weight"][:, 0, k] * x[t + k - before]
    return linear(y + p["conv.bias"], p, "out_proj")


def published_lstm(p, x, causal):
    def states_of(i, u):
        w = {
            name: p[f"{('onwards', 'back')[i]}.{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }

        def step(state, v):
            gates = w["weight_ih"] @ v + w["bias_ih"] + w["weight_hh"] @ state[0] + w["bias_hh"]
            i, f, g, o = np.split(gates, 4)
            c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
            return np.stack([sigmoid(o) * np.tanh(c), c])

        return run(step, u, np.zeros((2, w["weight_hh"].shape[1])))[:, 0]

    return np.concatenate(both(states_of, x, causal), axis=-1)


CASES = [
    (S4D, published_s4d, {"state": 4}),
    (S4D, published_s4d, {"state": 6, "init": "inv", "gate": False}),
    (S4D, published_s4d, {"state": 2, "init": "lin"}),
    (S5, published_s5, {"state": 6}),
    (S5, published_s5, {"state": 8, "blocks": 2, "gate": False}),
    (LRU, published_lru, {"state": 5}),
    (MinGRU, published_mingru, {}),
    (MinGRU, published_mingru, {"candidate": "linear"}),
    (EMA, published_ema, {"state": 3}),
    (Conv, published_conv, {}),
    (Conv, published_conv, {"kernel": 4}),
    (Conv, published_conv, {"kernel": 1}),
    (LSTM, published_lstm, {}),
]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("cls", "published", "options"), CASES)
def test_mixers_are_the_published_recurrences(cls, published, options, causal):
    torch.manual_seed(0)
    mixer = jittered(cls(4, causal=causal, **options))
    lengths = [19, 7, 1]
    x = 3 * torch.randn(3, 19, 4).double()
    mask = torch.arange(19) < torch.tensor(lengths)[:, None]
    got = mixer(x, mask)
    p = {name: value.detach().numpy() for name, value in mixer.named_parameters()}
    for row, length in enumerate(lengths):
        want = published(p, x[row, :length].numpy(), causal, **options)
        np.testing.assert_allclose(got[row, :length].detach(), want, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(mixer(x, torch.ones_like(mask)), mixer(x))
    assert mixer.causal is causal


@pytest.mark.parametrize("cls", [S4D, S5, LRU, MinGRU, EMA, Conv, LSTM])
def test_only_causal_mixers_hide_the_future(cls):
    torch.manual_seed(0)
    x = torch.randn(1, 9, 4)
    other = x.clone()
    other[:, 6:] += 1
    for causal in (False, True):
        mixer = cls(4, causal=causal)
        same = torch.allclose(mixer(x)[:, :6], mixer(other)[:, :6], atol=1e-5)
        assert same is causal


# Initial values


@pytest.mark.parametrize("n", [2, 8, 64])
def test_s4d_starts_as_published(n):
    k = np.arange(n // 2)
    torch.manual_seed(0)
    for init, want in (("lin", np.pi * k), ("inv", n / np.pi * (n / (2 * k + 1) - 1))):
        mixer = S4D(3, state=n, init=init)
        assert torch.equal(mixer.log_a_real.exp(), torch.full((3, n // 2), 0.5))
        np.testing.assert_allclose(mixer.a_imag.detach(), np.tile(want, (3, 1)), rtol=1e-6)
    a = np.array(
        [[-np.sqrt((2 * i + 1) * (2 * j + 1)) * (i > j) - (i + 1) * (i == j) for j in range(n)] for i in range(n)]
    )
    p = np.sqrt(np.arange(n) + 0.5)
    eigenvalues = np.linalg.eigvals(a + np.outer(p, p))
    np.testing.assert_allclose(eigenvalues.real, -0.5, atol=1e-8)
    want = np.sort(eigenvalues.imag[eigenvalues.imag > 0])
    np.testing.assert_allclose(np.sort(S4D(3, state=n, init="legs").a_imag.detach()[0]), want, rtol=1e-6)


def test_the_input_matrix_of_s4d_legs_is_half_of_hippos():
    torch.manual_seed(0)
    ratio = S4D(4000, state=8, init="legs").c.square().sum(-1).mean((0, 1))
    # Σ |B_n|² over all n is that of √(2n + 1), n < 8, in any orthonormal basis; pairs count twice.
    assert 2 * 4 * ratio.sum().item() == pytest.approx(64, rel=0.05)
    torch.manual_seed(0)
    assert S4D(4000, state=8, init="lin").c.square().sum(-1).mean().item() == pytest.approx(1, rel=0.05)


def test_timescales_start_between_their_bounds():
    torch.manual_seed(0)
    for log_dt in (
        S4D(2000, state=2, dt_min=0.01, dt_max=1).log_dt,
        S5(2, state=4000, blocks=500, dt_min=0.01, dt_max=1).log_step,
    ):
        dt = log_dt.exp()
        assert 0.01 <= dt.min() < 0.011
        assert 0.9 < dt.max() <= 1
        assert dt.log().mean().item() == pytest.approx(math.log(0.1), abs=0.1)


def test_the_kernel_of_s4d_is_made_of_powers_of_the_discretised_matrix():
    torch.manual_seed(0)
    mixer = jittered(S4D(2, state=6))
    kernel = mixer.kernel(300)
    a = torch.complex(-mixer.log_a_real.exp(), mixer.a_imag)
    c = torch.view_as_complex(mixer.c.detach())
    for channel, dt in enumerate(mixer.log_dt.exp()):
        # Zero-order hold: exp of [[A, B], [0, 0]] Δ is [[Ā, B̄], [0, 1]].
        whole = torch.zeros(7, 7, dtype=torch.complex128)
        whole[:6, :6] = torch.diag(torch.cat([a[channel], a[channel].conj()]))
        whole[:6, 6] = 1
        discrete = torch.linalg.matrix_exp(dt * whole)
        for t in (0, 1, 2, 127, 128, 129, 299):
            response = torch.linalg.matrix_power(discrete[:6, :6], t) @ discrete[:6, 6]
            for direction in range(2):
                row = c[direction, channel]
                want = torch.cat([row, row.conj()]) @ response
                torch.testing.assert_close(kernel[direction, channel, t], want.real)
                assert want.imag.abs() < 1e-9


def test_s5_starts_in_the_basis_of_hippo_n():
    torch.manual_seed(0)
    mixer = S5(500, state=16, blocks=2, causal=True)
    one = S4D(1, state=8, init="legs").a_imag[0].tolist()
    assert mixer.lambda_imag.tolist() == pytest.approx(one + one)
    assert mixer.lambda_real.tolist() == pytest.approx([-0.5] * 8)
    # Vectors of norm 1 keep variances: 1/16 for B, and 1/16 for each part of C.
    assert mixer.b.square().sum(0).mean().item() == pytest.approx(1 / 16, rel=0.1)
    assert mixer.c.square().sum(2).mean().item() == pytest.approx(2 / 16, rel=0.1)


def test_lru_starts_on_its_ring():
    torch.manual_seed(0)
    mixer = LRU(2, state=4000, r_min=0.4, r_max=0.8, max_phase=0.5)
    radius, phase = (-mixer.nu_log.exp()).exp(), mixer.theta_log.exp()
    assert 0.4 <= radius.min() < 0.402 < 0.798 < radius.max() <= 0.8
    assert 0 < phase.min() < 0.002 < 0.498 < phase.max() <= 0.5
    # Uniform in area: the mean of r² lies halfway.
    assert radius.square().mean().item() == pytest.approx((0.4**2 + 0.8**2) / 2, abs=0.01)
    torch.testing.assert_close(mixer.gamma_log.exp(), (1 - radius.square()).sqrt())
    assert mixer.b.square().mean().item() == pytest.approx(1 / 4, rel=0.1)
    assert mixer.c.square().mean().item() == pytest.approx(1 / 4000, rel=0.1)


def test_ema_starts_as_released():
    torch.manual_seed(0)
    mixer = EMA(500, state=4)
    torch.testing.assert_close(mixer.beta.mean((0, 1)), torch.tensor([1.0, -1.0, 1.0, -1.0]), atol=0.005, rtol=0)
    spread = [p.std().item() for p in (mixer.alpha, mixer.delta, mixer.eta, mixer.omega)]
    assert spread == pytest.approx([0.2, 0.2, 1, 1], rel=0.15)


def test_an_ema_that_forgets_all_at_once_is_finite():
    mixer = EMA(2, state=2)
    with torch.no_grad():
        mixer.alpha.fill_(50)
        mixer.delta.fill_(50)
    y = mixer(torch.randn(1, 5, 2))
    y.sum().backward()
    assert y.isfinite().all()
    assert mixer.alpha.grad.isfinite().all()


def test_states_of_s5_never_grow():
    mixer = S5(2, state=4)
    with torch.no_grad():
        mixer.lambda_real.fill_(3)
    assert mixer(torch.randn(1, 5000, 2)).isfinite().all()


@pytest.mark.parametrize("cls", [S4D, S5, LRU, EMA])
def test_recurrence_parameters_stand_apart(cls):
    mixer = cls(4)
    groups = parameter_groups(mixer)
    assert {id(p) for p in groups["recurrence"]} == {id(getattr(mixer, name)) for name in mixer.recurrence_parameters}


def test_forget_gates_are_what_mingru_keeps():
    torch.manual_seed(0)
    mixer, x = MinGRU(3), torch.randn(2, 5, 3)
    want = 1 - (x @ mixer.in_proj.weight[3:].T + mixer.in_proj.bias[3:]).sigmoid()
    torch.testing.assert_close(mixer.forget_gates(x), want)


@pytest.mark.parametrize(
    ("cls", "options", "words"),
    [
        (S4D, {"state": 3}, "kwargs.state=3 must be even"),
        (S4D, {"state": 0}, "kwargs.state=0"),
        (S4D, {"dt_min": 0.0}, "kwargs.dt_min=0.0 must be over 0"),
        (S4D, {"dt_min": 0.1, "dt_max": 0.01}, "kwargs.dt_max=0.01"),
        (S5, {"dt_min": -1.0}, "kwargs.dt_min"),
        (S5, {"state": 6, "blocks": 2}, "kwargs.state=6 must be a multiple of twice"),
        (S5, {"blocks": 0}, "kwargs.blocks=0"),
        (LRU, {"state": 0}, "kwargs.state=0"),
        (LRU, {"r_min": 0.9, "r_max": 0.9}, "kwargs.r_min=0.9"),
        (LRU, {"r_max": 1.1}, "kwargs.r_max=1.1"),
        (LRU, {"max_phase": 0.0}, "kwargs.max_phase=0.0"),
        (EMA, {"state": 0}, "kwargs.state=0"),
        (Conv, {"kernel": 0}, "kwargs.kernel=0"),
    ],
)
def test_impossible_options_are_user_errors(cls, options, words):
    with pytest.raises(UserError, match=words.replace(".", r"\.")):
        cls(4, **options)


def test_an_lstm_both_ways_needs_an_even_width():
    assert LSTM(5, causal=True)(torch.zeros(1, 2, 5)).shape == (1, 2, 5)
    with pytest.raises(UserError, match="must be even"):
        LSTM(5)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # read by the compiler itself
def test_an_lstm_runs_between_compiled_parts():
    torch.manual_seed(0)
    mixer, x = LSTM(4), torch.randn(2, 5, 4)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    torch.compiler.reset()
    found = torch.compile(mixer, backend="aot_eager")(x, mask)
    torch.testing.assert_close(found, mixer(x, mask))
    torch.compiler.reset()


def test_complex_expm1_has_all_its_digits():
    z = torch.tensor([1e-9 - 2e-9j, -0.3 + 2j, -1e-12 + 3j, 0.5 - 1e-7j], dtype=torch.complex128)
    series = z + z**2 / 2 + z**3 / 6
    torch.testing.assert_close(expm1(z[:1]), series[:1], rtol=1e-14, atol=0)
    torch.testing.assert_close(expm1(z), z.exp() - 1, rtol=1e-14, atol=1e-15)
