"""`lra inspect`: gates and attributions against direct computation, and what is drawn of them."""

import numpy as np
import pytest
import torch
from torch import nn

from lra_hgrn.config.schema import ModelConfig
from lra_hgrn.errors import UserError
from lra_hgrn.inspection import attribution, gates, sample_figures
from lra_hgrn.inspection.record import Document, Sample
from lra_hgrn.models import build_classifier
from lra_hgrn.models.block import Block
from lra_hgrn.results.figures import to_png
from lra_tasks import TaskSpec
from lra_tasks.loader import Batch

PNG = b"\x89PNG\r\n\x1a\n"
SPEC = TaskSpec("made", "tokens", vocab_size=9, n_classes=3, max_length=12)


class Gated(nn.Module):
    """Its gates are the sigmoid of what it reads."""

    def __init__(self, d_model):
        super().__init__()

    def forward(self, x, mask=None):
        return x.tanh()

    def forget_gates(self, x, mask=None, lower_bound=None):
        return torch.sigmoid(x)


def network(target="hgru", spec=SPEC, mixer=None, **options):
    torch.manual_seed(0)
    net = build_classifier(spec, ModelConfig(name="made", target=target, d_model=6, **options)).eval()
    if mixer is not None:
        net.blocks = nn.ModuleList([Block(mixer, 6, "glu", 6, "layer", 0.0)])
    return net


def made_batch(lengths, documents=1, seed=0):
    tokens = torch.randint(1, 9, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(seed))
    lengths = torch.tensor(lengths)
    tokens[torch.arange(tokens.shape[1]) >= lengths[:, None]] = 0
    return Batch(tokens, lengths, torch.zeros(len(lengths) // documents, dtype=torch.long))


def test_gates_set_by_hand_are_found_again():
    net = network()
    bias = torch.tensor([[-2.0, -1.0, 0.0, 1.0, 2.0, 4.0], [3.0, 2.5, -5.0, 0.5, 0.0, 8.0]])
    with torch.no_grad():
        net.lower_bound.gamma[0, 3] = 2.0
        for block, row in zip(net.blocks, bias, strict=True):
            mixer = block.token_mixer
            mixer.in_proj.weight[sum(mixer.widths[:2]) :] = 0
            mixer.in_proj.bias[sum(mixer.widths[:2]) :] = row
    bounds = net.lower_bounds().detach().double().numpy()
    found = gates.measure(net, [made_batch([12, 5, 1]), made_batch([7])])
    assert [layer.layer for layer in found] == [1, 2]
    for layer, bound, row in zip(found, bounds, bias.double().numpy(), strict=True):
        gate = bound + (1 - bound) / (1 + np.exp(-row))
        assert (layer.mixer, layer.channels, layer.positions) == ("HGRU", 6, 25)
        assert layer.mean == pytest.approx(gate.mean(), rel=1e-5)
        np.testing.assert_allclose(layer.memory_of_channels, -1 / np.log(gate), rtol=1e-3)
        assert layer.channel_memory.q50 == pytest.approx(np.median(layer.memory_of_channels), rel=1e-4)
        assert layer.gate.q10 == pytest.approx(gate.min(), abs=2e-3)
        assert layer.gate_memory.q90 == pytest.approx(1 / (1 - gate.max()), rel=2e-3)
        assert np.flatnonzero(layer.histogram).tolist() == sorted({int(100 * value) for value in gate})
        assert sum(layer.memory_histogram) == pytest.approx(1, abs=1e-4)


def test_gates_are_those_of_real_positions():
    """Batches with padding, against every sample by itself."""
    net = network("torch.nn.Identity", mixer=Gated(6), layers=1)
    batches = [made_batch([12, 3, 7], seed=1), made_batch([1, 10], seed=2)]
    read = []
    for batch in batches:
        for tokens, length in zip(batch.inputs, batch.lengths, strict=True):
            x = net.blocks[0].token_norm(net.embedding(tokens[None, :length]), None)
            read.append(torch.sigmoid(x)[0].detach().double().numpy())
    direct = np.concatenate(read)
    (layer,) = gates.measure(net, batches)
    assert layer.positions == len(direct) == 33
    shares = (0.1, 0.25, 0.5, 0.75, 0.9)
    np.testing.assert_allclose(list(vars(layer.gate).values()), np.quantile(direct, shares), atol=0.01)
    memory = np.quantile(1 / (1 - direct), shares)
    np.testing.assert_allclose(list(vars(layer.gate_memory).values()), memory, rtol=0.02)
    np.testing.assert_allclose(layer.memory_of_channels, -1 / np.log(direct).mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(layer.histogram, np.histogram(direct, 100, (0, 1))[0] / direct.size, atol=1e-6)


def test_gates_of_many_values_have_exact_quantiles():
    values = torch.rand(4000, 25, generator=torch.Generator().manual_seed(0)) ** 0.1
    kept = gates.GateStatistics()
    for part in values.split(700):
        kept.add(part)
    layer = kept.summary(1, "made")
    want = np.quantile(1 / (1 - values.double().numpy()), (0.1, 0.25, 0.5, 0.75, 0.9))
    np.testing.assert_allclose(list(vars(layer.gate_memory).values()), want, rtol=2e-3)
    np.testing.assert_allclose(1 - 1 / want, list(vars(layer.gate).values()), rtol=1e-3)


def test_gates_of_zero_and_one_are_finite():
    kept = gates.GateStatistics()
    kept.add(torch.tensor([[0.0, 1.0]] * 4))
    layer = kept.summary(1, "made")
    assert layer.memory_of_channels[0] == pytest.approx(1 / 87.3, rel=1e-2)
    assert layer.memory_of_channels[1] == pytest.approx(2**24)
    assert layer.gate_memory.q10 == pytest.approx(1, rel=2e-3)
    assert layer.gate_memory.q90 == pytest.approx(2**24, rel=2e-3)


@pytest.mark.parametrize("wrong", [lambda x: x[0], lambda x: x + 2, lambda x: x * torch.nan, lambda x: None])
def test_gates_that_are_none_are_refused(wrong):
    mixer = Gated(6)
    mixer.forget_gates = lambda x, mask=None, lower_bound=None: wrong(torch.sigmoid(x))
    with pytest.raises(UserError, match="forget_gates of Gated returned"):
        gates.measure(network("torch.nn.Identity", mixer=mixer), [made_batch([4])])


class Linear(nn.Module):
    """A classifier of one or two documents that is linear in its embedding: Σ_n W_n mean(e_n) + b."""

    def __init__(self, documents=1):
        super().__init__()
        self.documents = documents
        self.embedding = nn.Embedding(9, 4)
        self.maps = nn.ModuleList(nn.Linear(4, 3) for _ in range(documents))

    def forward(self, inputs, lengths):
        real = torch.arange(inputs.shape[1]) < lengths[:, None]
        means = (self.embedding(inputs) * real.unsqueeze(-1)).sum(dim=1) / lengths[:, None]
        return sum(map_(part) for map_, part in zip(self.maps, means.chunk(self.documents), strict=True))


@pytest.mark.parametrize("lengths", [[7], [4, 9]])
def test_attribution_of_a_linear_model_is_known(lengths):
    torch.manual_seed(1)
    net, batch = Linear(len(lengths)).eval(), made_batch(lengths, documents=len(lengths))
    sample = attribution.attribute(net, batch, 5)
    logits = net(*batch[:2])[0]
    assert (sample.index, sample.label, sample.predicted) == (5, 0, int(logits.argmax()))
    np.testing.assert_allclose(sample.logits, logits.tolist(), rtol=1e-5)
    for number, (document, length) in enumerate(zip(sample.documents, lengths, strict=True)):
        weight = net.maps[number].weight[sample.predicted]
        want = (net.embedding(batch.inputs[number, :length]) @ weight / length).tolist()
        np.testing.assert_allclose(document.gradient, want, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(document.occlusion, want, rtol=1e-3, atol=1e-5)
        assert (document.length, document.window) == (length, 1)
        assert document.agreement == pytest.approx(1)


@pytest.mark.parametrize("options", [{}, {"pooling": "cls"}, {"target": "attention", "kwargs": {"heads": 2}}])
def test_occlusion_is_a_token_whose_embedding_is_zero(options):
    net, batch = network(**options), made_batch([11])
    with torch.no_grad():
        net.embedding.tokens.weight[8] = 0
    batch.inputs.clamp_(max=7)
    sample = attribution.attribute(net, batch, 0)
    for place, fall in enumerate(sample.documents[0].occlusion):
        changed = batch.inputs.clone()
        changed[0, place] = 8
        without = net(changed, batch.lengths)[0, sample.predicted].item()
        assert fall == pytest.approx(sample.logits[sample.predicted] - without, abs=1e-5)


@pytest.mark.parametrize(("length", "side", "count"), [(1, 0, 1), (64, 0, 64), (1000, 0, 63), (100, 10, 25), (4, 2, 4)])
def test_windows_cover_every_position_once(length, side, count):
    size, windows = attribution.windows_of(length, side)
    assert sorted(np.concatenate(windows).tolist()) == list(range(length))
    assert len(windows) == count <= 64
    assert max(map(len, windows)) == (size**2 if side else size)


def test_a_classifier_without_embedding_cannot_be_attributed():
    with pytest.raises(attribution.NoEmbedding, match=r"Flatten has no nn\.Embedding"):
        attribution.embedding_of(nn.Flatten())
    net = Linear()
    net.embedding = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(28, 28), nn.Unflatten(1, (7, 4)))
    assert len(attribution.attribute(net, made_batch([7]), 0).documents) == 1
    net.embedding = nn.Sequential(nn.Flatten(0), nn.Embedding(9, 4), nn.Unflatten(0, (1, 7)))
    with pytest.raises(attribution.NoEmbedding, match="one vector for each position"):
        attribution.attribute(net, made_batch([7]), 0)


def test_what_cannot_be_seen_is_shown_by_a_sign():
    shown = [sample_figures._visible(symbol) for symbol in ("[MAX", "<eos>", "<unk>", "\n", "\x00", "é")]
    assert shown == ["[MAX", "∎", "�", "↵", "·", "é"]


def drawn(document, documents=1):
    return Sample(index=0, label=1, predicted=1, logits=[0.0, 1.0], documents=[document] * documents)


def test_figures_draw_every_kind_of_document():
    many = Document(
        length=4000, gradient=[0.0] * 3990 + [1.0] * 10, window=63, occlusion=[0.1] * 63 + [-1.0], agreement=0.5
    )
    symbols = list("a word 語 \U0001f600 " * 400)[:4000]
    figure = sample_figures.sequence_figure(drawn(many, 2), [symbols, symbols], [np.zeros(4000)] * 2)
    assert to_png(figure).startswith(PNG)
    titles = [axes.get_title(loc="left") for axes in figure.get_axes()]
    assert titles[0].startswith("First document. Gradient")
    assert titles[2].startswith("Symbols 3")  # to the end, where all the weight lies
    assert titles[2].endswith("to 3999 (grey above)")
    few = Document(length=0, gradient=[], window=1, occlusion=[], agreement=None)
    assert to_png(sample_figures.sequence_figure(drawn(few), [None], [np.zeros(0)])).startswith(PNG)
    image = Document(length=25, gradient=[1.0] * 25, window=1, occlusion=[0.0] * 25, agreement=None)
    figure = sample_figures.image_figure(drawn(image, 2), [np.eye(5), np.ones((5, 5))])
    assert to_png(figure).startswith(PNG)
    assert len(figure.get_axes()) == 6
