"""Attention, rotary and sinusoidal positions."""

import math

import numpy as np
import pytest
import torch

from lra_hgrn.errors import UserError
from lra_hgrn.models.embedding import Embedding, sinusoids
from lra_hgrn.models.mixers.attention import Attention, rotate


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_the_published_formula(causal):
    torch.manual_seed(0)
    mixer, x = Attention(6, heads=2, causal=causal).double(), torch.randn(2, 5, 6).double()
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    p = {name: value.detach().numpy() for name, value in mixer.named_parameters()}
    got = mixer(x, mask)
    for b, length in enumerate([5, 3]):
        q, k, v = np.split(x[b, :length].numpy() @ p["qkv_proj.weight"].T + p["qkv_proj.bias"], 3, axis=-1)
        heads = []
        for h in (slice(0, 3), slice(3, 6)):
            scores = np.exp(q[:, h] @ k[:, h].T / math.sqrt(3))
            scores = np.tril(scores) if causal else scores
            heads.append(scores / scores.sum(-1, keepdims=True) @ v[:, h])
        want = np.concatenate(heads, axis=-1) @ p["out_proj.weight"].T + p["out_proj.bias"]
        np.testing.assert_allclose(got[b, :length].detach(), want, rtol=1e-9, atol=1e-12)


def test_rotary_scores_depend_on_distance_only():
    torch.manual_seed(0)
    q, k = torch.randn(2, 8).double()
    scores = rotate(q.expand(12, 8)) @ rotate(k.expand(12, 8)).T
    for distance in range(-11, 12):
        diagonal = scores.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    assert scores[0].unique().numel() == 12
    torch.testing.assert_close(scores[0, 0], q @ k)


def test_rotation_turns_each_pair_by_its_frequency():
    x = torch.randn(7, 6).double()
    pairs = torch.complex(x[:, :3], x[:, 3:]).numpy()
    turned = pairs * np.exp(1j * np.outer(np.arange(7), 10000.0 ** (-2 * np.arange(3) / 6)))
    np.testing.assert_allclose(rotate(x), np.concatenate([turned.real, turned.imag], -1), rtol=1e-9, atol=1e-12)


def test_only_positions_tell_attention_the_order():
    torch.manual_seed(0)
    x = torch.randn(1, 6, 8)
    for rotary in (False, True):
        mixer = Attention(8, rotary=rotary)
        same = torch.allclose(mixer(x.flip(1)).flip(1), mixer(x), atol=1e-6)
        assert same is not rotary


def test_attention_drops_weights_in_training_only():
    torch.manual_seed(0)
    mixer, x = Attention(8, dropout=0.5), torch.randn(1, 6, 8)
    assert not torch.equal(mixer(x), mixer(x))
    mixer.eval()
    assert torch.equal(mixer(x), mixer(x))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"heads": 3}, "multiple"),
        ({"heads": 0}, "multiple"),
        ({"heads": 8, "rotary": True}, "even"),
        ({"dropout": 1.0}, "under 1"),
    ],
)
def test_impossible_options_are_user_errors(options, words):
    with pytest.raises(UserError, match=words):
        Attention(8, **options)


@pytest.mark.parametrize("d", [6, 5])
def test_sinusoids_are_the_published_values(d):
    table = sinusoids(40, d)
    assert table.shape == (40, d)
    for t in (0, 1, 39):
        for j in range(d):
            angle = t / 10000 ** ((j - j % 2) / d)
            assert table[t, j].item() == pytest.approx(math.cos(angle) if j % 2 else math.sin(angle), abs=1e-7)


@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
def test_positions_are_added_and_bounded(positions):
    torch.manual_seed(0)
    embedding = Embedding(6, vocab_size=9, max_length=5, positions=positions, dropout=0)
    tokens = torch.randint(0, 9, (2, 5))
    torch.testing.assert_close(embedding(tokens), embedding.tokens(tokens) + embedding.table)
    with pytest.raises(UserError, match="longer than the task's 5"):
        embedding(torch.zeros(1, 6, dtype=torch.int64))
    assert ("table" in embedding.state_dict()) is (positions == "learned")


def test_values_go_through_a_linear_map():
    embedding = Embedding(6, vocab_size=0, max_length=5, positions="none", dropout=0)
    values = torch.rand(2, 5)
    want = values[..., None] * embedding.values.weight[:, 0] + embedding.values.bias
    torch.testing.assert_close(embedding(values), want)
