"""The token mixers of the Transformer family, against plain formulas over all pairs of positions."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lra_hgrn.errors import UserError
from lra_hgrn.models.mixers import linear_attention, performer
from lra_hgrn.models.mixers.attention import Attention, rotate
from lra_hgrn.models.mixers.cosformer import CosFormer
from lra_hgrn.models.mixers.linear_attention import LinearAttention
from lra_hgrn.models.mixers.linformer import Linformer
from lra_hgrn.models.mixers.local_attention import LocalAttention
from lra_hgrn.models.mixers.nystromformer import Nystromformer, pseudo_inverse
from lra_hgrn.models.mixers.performer import Performer, orthogonal_gaussian

LENGTHS = [23, 9, 1]
MASK = torch.arange(23) < torch.tensor(LENGTHS)[:, None]


def make(cls, *args, **options):
    """A mixer in float64 with weights large enough that attention is far from a mean."""
    torch.manual_seed(0)
    mixer = cls(*args, **options).double()
    with torch.no_grad():
        mixer.qkv_proj.weight *= 3
    return mixer


def by_heads(mixer, x, attend):
    """Apply ``attend(q, k, v)`` of NumPy arrays (L, n) to each head of one sample (L, d), between the two maps."""
    p = {name: value.detach().numpy() for name, value in mixer.named_parameters()}
    q, k, v = np.split(x.numpy() @ p["qkv_proj.weight"].T + p["qkv_proj.bias"], 3, axis=-1)
    n = x.shape[-1] // mixer.heads
    heads = [attend(*(part[:, h * n : h * n + n] for part in (q, k, v))) for h in range(mixer.heads)]
    return np.concatenate(heads, axis=-1) @ p["out_proj.weight"].T + p["out_proj.bias"]


def check(mixer, attend, rtol=1e-9):
    """Compare a padded batch with ``attend`` on each sample by itself; padding is large, not zero."""
    torch.manual_seed(1)
    x = torch.randn(3, 23, mixer.qkv_proj.in_features).double()
    y = mixer(x.masked_fill(~MASK.unsqueeze(-1), 1e3), MASK).detach()
    assert y.isfinite().all()
    for b, length in enumerate(LENGTHS):
        want = by_heads(mixer, x[b, :length], attend)
        np.testing.assert_allclose(y[b, :length], want, rtol=rtol, atol=1e-11)
        np.testing.assert_allclose(mixer(x[b : b + 1, :length])[0].detach(), want, rtol=rtol, atol=1e-11)


def normalised(weights, v):
    return weights / weights.sum(-1, keepdims=True) @ v


def softmax_attention(q, k, v, seen=1.0):
    return normalised(np.exp(q @ k.T / math.sqrt(q.shape[-1])) * seen, v)


def distances(length):
    return np.subtract.outer(np.arange(length), np.arange(length))  # i − j


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [1, 2, 5, 8, 40])
def test_sliding_window_is_masked_softmax_attention(window, causal):
    def attend(q, k, v):
        d = distances(len(q))
        return softmax_attention(q, k, v, (d >= 0) & (d < window) if causal else abs(d) <= window // 2)

    check(make(LocalAttention, 6, heads=2, window=window, causal=causal), attend)


def test_sliding_window_over_several_chunks():
    mixer, x = make(LocalAttention, 6, heads=2, window=33), torch.randn(1, 150, 6).double()
    want = by_heads(mixer, x[0], lambda q, k, v: softmax_attention(q, k, v, abs(distances(150)) <= 16))
    np.testing.assert_allclose(mixer(x)[0].detach(), want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [1, 5, 23, 40])
def test_blocks_see_only_themselves(window, causal):
    def attend(q, k, v):
        block = np.arange(len(q)) // window
        seen = np.equal.outer(block, block)
        return softmax_attention(q, k, v, np.tril(seen) if causal else seen)

    check(make(LocalAttention, 6, heads=2, window=window, form="block", causal=causal), attend)


@pytest.mark.parametrize("form", ["sliding", "block"])
def test_rotary_positions_go_on_across_windows(form):
    def attend(q, k, v):
        d, block = distances(len(q)), np.arange(len(q)) // 6
        q, k = (rotate(torch.tensor(x)).numpy() for x in (q, k))
        return softmax_attention(q, k, v, np.equal.outer(block, block) if form == "block" else abs(d) <= 3)

    check(make(LocalAttention, 8, heads=2, window=6, form=form, rotary=True), attend)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("chunk", [4, 128])
def test_linear_attention_is_its_matrix_of_weights(chunk, causal, monkeypatch):
    monkeypatch.setattr(linear_attention, "CHUNK", chunk)

    def phi(x):
        return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))

    def attend(q, k, v):
        return normalised(phi(q) @ phi(k).T * (distances(len(q)) >= 0 if causal else 1), v)

    check(make(LinearAttention, 6, heads=2, causal=causal), attend)


@pytest.mark.parametrize("causal", [False, True])
def test_performer_is_its_matrix_of_weights(causal, monkeypatch):
    monkeypatch.setattr(linear_attention, "CHUNK", 4)
    monkeypatch.setattr(performer, "FLOOR", 0.0)
    mixer = make(Performer, 8, heads=2, features=7, causal=causal)
    omega = mixer.omega.numpy()

    def phi(x):
        x = x / 4**0.25
        return np.exp(x @ omega.T) * np.exp(-(x**2).sum(-1, keepdims=True) / 2)

    check(mixer, lambda q, k, v: normalised(phi(q) @ phi(k).T * (distances(len(q)) >= 0 if causal else 1), v))


@pytest.mark.parametrize("causal", [False, True])
def test_performer_tends_to_softmax_attention(causal):
    torch.manual_seed(0)
    x = torch.randn(2, 40, 16).double() * 0.7  # the variance grows with the exponential of squared lengths
    exact, errors = Attention(16, heads=2, causal=causal).double(), []
    for features in (64, 1024, 16384):
        squares = []
        for _ in range(5):
            mixer = Performer(16, heads=2, features=features, causal=causal).double()
            mixer.load_state_dict({**exact.state_dict(), "omega": mixer.omega})
            squares.append((mixer(x) - exact(x)).square().mean().item())
        errors.append(math.sqrt(np.mean(squares)))
    assert errors[1] < errors[0] / 2.5  # in expectation a quarter
    assert errors[2] < errors[1] / 2.5
    assert errors[2] < 0.01 * exact(x).std().item()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("scale", [0, 30, 1e4])
def test_performer_stays_finite(scale, causal):
    torch.manual_seed(0)
    mixer, x = Performer(64, heads=2, causal=causal), (torch.randn(2, 50, 64) * scale).requires_grad_()
    y = mixer(x)
    y.sum().backward()
    assert y.isfinite().all()
    assert x.grad.isfinite().all()


def test_random_features_are_orthogonal_and_as_long_as_gaussian_vectors():
    torch.manual_seed(0)
    omega = orthogonal_gaussian(4001, 8).double()
    assert omega.shape == (4001, 8)
    products = omega[:4000].view(500, 8, 8) @ omega[:4000].view(500, 8, 8).mT
    off = products - torch.diag_embed(products.diagonal(dim1=1, dim2=2))
    assert off.abs().max() < 1e-5
    squares = omega.square().sum(-1)  # chi-squared of 8 degrees
    assert squares.mean().item() == pytest.approx(8, abs=0.3)
    assert squares.var().item() == pytest.approx(16, abs=2)
    assert omega.mean(0).abs().max() < 0.06  # no direction is preferred: QR alone prefers some
    torch.testing.assert_close(omega.T @ omega / 4001, torch.eye(8).double(), atol=0.1, rtol=0)


def test_random_features_are_drawn_by_the_global_generator_and_saved():
    torch.manual_seed(3)
    first = Performer(32, heads=2)
    torch.manual_seed(3)
    assert torch.equal(Performer(32, heads=2).omega, first.omega)
    assert not torch.equal(Performer(32, heads=2).omega, first.omega)
    assert first.omega.shape == (math.ceil(16 * math.log(16)), 16)
    assert Performer(4, heads=4).omega.shape == (1, 1)
    assert "omega" in first.state_dict()
    assert "omega" not in dict(first.named_parameters())


@pytest.mark.parametrize("causal", [False, True])
def test_cosformer_is_its_matrix_of_weights(causal):
    mixer = make(CosFormer, 12, heads=2, causal=causal, max_length=30)

    def attend(q, k, v):
        d = distances(len(q))
        weights = np.maximum(q, 0) @ np.maximum(k, 0).T * np.cos(math.pi / 2 * d / (30 if causal else len(q)))
        return normalised(weights * (d >= 0 if causal else 1), v)

    with torch.no_grad():
        mixer.qkv_proj.bias.fill_(4)  # so that no position is without any weight
    check(mixer, attend)


def test_cosformer_without_any_weight_is_zero():
    mixer = make(CosFormer, 8, heads=2)
    with torch.no_grad():
        mixer.qkv_proj.bias[:8] = -100
    x = torch.randn(2, 5, 8).double().requires_grad_()
    y = mixer(x)
    y.sum().backward()
    torch.testing.assert_close(y, mixer.out_proj.bias.expand_as(y))
    assert x.grad.isfinite().all()


def test_linformer_is_attention_to_mixtures_of_positions():
    mixer = make(Linformer, 6, max_length=30, heads=2, rank=4)
    e, f = mixer.key_proj.weight.detach().numpy(), mixer.value_proj.weight.detach().numpy()
    check(mixer, lambda q, k, v: softmax_attention(q, e[:, : len(k)] @ k, f[:, : len(v)] @ v))


def test_linformer_with_every_position_is_softmax_attention():
    mixer, exact, x = (
        make(Linformer, 6, max_length=7, heads=2, rank=7),
        make(Attention, 6, heads=2),
        torch.randn(2, 7, 6),
    )
    eye = torch.eye(7)
    mixer.load_state_dict({**exact.state_dict(), "key_proj.weight": eye, "value_proj.weight": eye})
    torch.testing.assert_close(mixer(x.double()), exact(x.double()))
    mixer(x.double()).square().sum().backward()
    assert (mixer.key_proj.weight.grad != 0).all()
    assert (mixer.value_proj.weight.grad != 0).all()


def softmax(scores):
    return np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)


@pytest.mark.parametrize("landmarks", [1, 4, 9, 64])
def test_nystromformer_is_the_published_formula(landmarks):
    mixer = make(Nystromformer, 6, heads=2, landmarks=landmarks, kernel=5, iterations=3)
    filters = mixer.conv.weight.detach().numpy()[:, 0, :, 0]
    calls = iter(range(100))

    def attend(q, k, v):
        length, scale = len(q), math.sqrt(q.shape[-1])
        segment = [t * landmarks // length for t in range(length)]
        groups = [[t for t in range(length) if segment[t] == s] for s in sorted(set(segment))]
        q_means, k_means = (np.stack([x[group].mean(0) for group in groups]) for x in (q, k))
        a, eye = softmax(q_means @ k_means.T / scale), np.eye(len(groups))
        z = a.T / (np.linalg.norm(a, 1) * np.linalg.norm(a, np.inf))
        for _ in range(3):
            z = z @ (13 * eye - a @ z @ (15 * eye - a @ z @ (7 * eye - a @ z))) / 4
        o = softmax(q @ k_means.T / scale) @ z @ softmax(q_means @ k.T / scale) @ v
        kernel = filters[next(calls) % 2]
        padded = np.pad(v, ((2, 2), (0, 0)))
        return o + sum(kernel[j] * padded[j : j + length] for j in range(5))

    check(mixer, attend)


@pytest.mark.parametrize("landmarks", [12, 50])
def test_nystromformer_with_a_landmark_for_each_position_is_softmax_attention(landmarks):
    mixer = make(Nystromformer, 8, heads=2, landmarks=landmarks, kernel=0, iterations=60)
    exact, x = make(Attention, 8, heads=2), torch.randn(2, 12, 8).double()
    mixer.load_state_dict(exact.state_dict())
    torch.testing.assert_close(mixer(x), exact(x), rtol=1e-4, atol=1e-5)


def test_pseudo_inverse_is_each_matrix_by_itself():
    torch.manual_seed(0)
    a = torch.randn(3, 2, 6, 6).double().mul(2).softmax(dim=-1)
    a[1, :, 4:] = a[1, :, :, 4:] = 0
    torch.testing.assert_close(pseudo_inverse(a, 40), torch.linalg.pinv(a), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(pseudo_inverse(a, 2)[:1, :1], pseudo_inverse(a[:1, :1], 2))


def causal_mixers():
    yield LocalAttention(8, window=5, causal=True)
    yield LocalAttention(8, window=7, form="block", causal=True)
    yield LinearAttention(8, causal=True)
    yield Performer(8, causal=True)
    yield CosFormer(8, causal=True, max_length=300)


def test_causal_mixers_know_nothing_of_the_future():
    torch.manual_seed(0)
    for mixer in causal_mixers():
        assert mixer.causal is True
        x = torch.randn(1, 300, 8, requires_grad=True)
        for t in (0, 64, 127, 128, 200):
            (gradient,) = torch.autograd.grad(mixer(x)[:, : t + 1].square().sum(), x)
            assert not gradient[:, t + 1 :].any(), (mixer, t)
            assert gradient[:, : t + 1].any(dim=-1).all() or isinstance(mixer, LocalAttention | CosFormer)
            torch.testing.assert_close(mixer(x[:, : t + 1]), mixer(x)[:, : t + 1], msg=f"{mixer} {t}")
            changed = torch.cat([x[:, : t + 1], x[:, t + 1 :] * 1e6], dim=1)
            assert torch.equal(mixer(changed)[:, : t + 1], mixer(x)[:, : t + 1])


@pytest.mark.parametrize("cls", [LocalAttention, LinearAttention, Performer, CosFormer, Nystromformer])
def test_mixers_that_see_both_sides_do(cls):
    torch.manual_seed(0)
    mixer, x = cls(8), torch.randn(1, 9, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(mixer(x)[:, 0].square().sum(), x)
    assert gradient[:, 1:].any()
    assert not getattr(mixer, "causal", False)


def test_causal_chunks_compile_for_lengths_with_and_without_a_rest():
    mixer = LinearAttention(4, heads=1, causal=True)
    compiled = torch.compile(mixer, fullgraph=True, backend="aot_eager")
    for length in (200, 256, 77):  # from the second on the length is symbolic
        x = torch.randn(2, length, 4)
        torch.testing.assert_close(compiled(x), mixer(x))


@pytest.mark.parametrize(
    ("make_it", "words"),
    [
        (lambda: LocalAttention(8, heads=3), "model.kwargs.heads=3"),
        (lambda: LocalAttention(8, window=0), "model.kwargs.window=0 must be at least 1"),
        (lambda: LocalAttention(8, heads=8, rotary=True), "even width"),
        (lambda: LinearAttention(8, heads=0), "model.kwargs.heads=0"),
        (lambda: Performer(8, features=0), "model.kwargs.features=0"),
        (lambda: Linformer(8, max_length=9, rank=0), "model.kwargs.rank=0"),
        (lambda: Linformer(8, max_length=0), "model.kwargs.max_length=0"),
        (lambda: Linformer(8, max_length=9)(torch.zeros(1, 10, 8)), "longer than model.kwargs.max_length=9"),
        (lambda: CosFormer(8, causal=True), "needs model.kwargs.max_length"),
        (lambda: CosFormer(8, max_length=0), "model.kwargs.max_length=0"),
        (lambda: CosFormer(8, causal=True, max_length=9)(torch.zeros(1, 10, 8)), "longer than model.kwargs.max_length"),
        (lambda: Nystromformer(8, landmarks=0), "model.kwargs.landmarks=0"),
        (lambda: Nystromformer(8, iterations=0), "model.kwargs.iterations=0"),
        (lambda: Nystromformer(8, kernel=4), "model.kwargs.kernel=4 must be odd"),
        (lambda: Nystromformer(8, kernel=-1), "model.kwargs.kernel=-1 must be odd"),
    ],
)
def test_impossible_options_are_user_errors(make_it, words):
    with pytest.raises(UserError, match=words):
        make_it()


def test_half_precision_keeps_what_needs_more():
    torch.manual_seed(0)
    x = torch.randn(2, 60, 32) * 3
    for mixer in (LinearAttention(32), Performer(32), CosFormer(32), Nystromformer(32), LocalAttention(32)):
        want = mixer(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = mixer(x)
        assert got.dtype == torch.bfloat16
        assert F.mse_loss(got.float(), want).sqrt() < 0.02 * want.std()
