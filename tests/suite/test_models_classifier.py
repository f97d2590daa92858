"""The classifier around a token mixer: padding, gradients, causality, determinism, pooling, heads.

Every registered token mixer is held to `lra_hgrn.contract` in test_contract.py; here are the two that all recipes have.
"""

import copy

import pytest
import torch
from small_models import LENGTHS, PAIRS, PIXELS, TEXT, build, settle, tokens
from torch import nn
from torch.utils.checkpoint import checkpoint

from lra_hgrn.errors import UserError
from lra_hgrn.models import parameter_groups
from lra_hgrn.models.registry import build_mixer

MIXERS = [
    ("hgru", {}),
    ("attention", {}),
    ("hgru", {"causal": True}),
    ("hgru", {"complex": False, "output": "paper"}),
    ("attention", {"causal": True, "rotary": True}),
    ("torch.nn.GRU", {"hidden_size": 8, "batch_first": True}),
]
CAUSAL = [(target, kwargs) for target, kwargs in MIXERS if kwargs.get("causal") or target == "torch.nn.GRU"]


@pytest.mark.parametrize("norm", ["layer", "batch", "rms"])
@pytest.mark.parametrize(("target", "kwargs"), MIXERS, ids=str)
def test_neither_padding_nor_batch_mates_change_logits(target, kwargs, norm):
    net = settle(build(target=target, kwargs=kwargs, norm=norm, positions="learned"))
    inputs = tokens()
    together = net(inputs, LENGTHS)
    alone = torch.cat([net(row[None, :n], n[None]) for row, n in zip(inputs, LENGTHS, strict=True)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    more = torch.cat([tokens(pad=7), torch.full((3, 6), 5)], dim=1)  # more padding, and not of zeros
    torch.testing.assert_close(net(more, LENGTHS), alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(net(tokens(pad=7), torch.full((3,), 9)), alone, atol=1e-3)  # those tokens do count


@pytest.mark.parametrize(("target", "kwargs"), MIXERS, ids=str)
def test_padding_changes_no_training_step_with_batch_norm(target, kwargs):
    net = build(target=target, kwargs=kwargs, norm="batch")
    twin = copy.deepcopy(net)
    a = net(tokens(), LENGTHS)
    b = twin(torch.cat([tokens(pad=7), torch.full((3, 6), 5)], dim=1), LENGTHS)
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    a.square().sum().backward()
    b.square().sum().backward()
    for (name, p), q in zip(net.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-4, msg=name)
    for (name, p), q in zip(net.named_buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(p, q, msg=name)


def test_published_way_scans_padding_but_pools_the_true_length():
    inputs = tokens()
    for target, kwargs in (("hgru", {}), ("attention", {})):
        padded, masked = (settle(build(target=target, kwargs=kwargs, mask_padding=flag)) for flag in (False, True))
        a, b = padded(inputs, LENGTHS), masked(inputs, LENGTHS)
        torch.testing.assert_close(a[0], b[0])  # the longest has no padding
        assert not torch.allclose(a[1:], b[1:], atol=1e-3)
    # A causal mixer does not see the padding behind a text, so only a pooling over padding could tell the two apart.
    padded, masked = (settle(build(kwargs={"causal": True}, mask_padding=flag)) for flag in (False, True))
    torch.testing.assert_close(padded(inputs, LENGTHS), masked(inputs, LENGTHS))


def test_published_way_counts_padding_in_batch_norm():
    counted, masked = (build(norm="batch", mask_padding=flag) for flag in (False, True))
    counted(tokens(), LENGTHS), masked(tokens(), LENGTHS)
    assert not torch.allclose(counted.blocks[0].token_norm.running_mean, masked.blocks[0].token_norm.running_mean)


@pytest.mark.parametrize("spec", [TEXT, PAIRS, PIXELS], ids=lambda spec: spec.name)
@pytest.mark.parametrize(("target", "kwargs"), MIXERS, ids=str)
def test_gradient_reaches_every_parameter(target, kwargs, spec):
    net = build(spec, target, kwargs, norm="batch", positions="learned", dropout=0.1)
    inputs = torch.rand(4, 16) if spec is PIXELS else tokens(torch.tensor([9, 1, 5, 9]))
    lengths = torch.tensor([16] * 4 if spec is PIXELS else [9, 1, 5, 9])
    logits = net(inputs, lengths)
    assert logits.shape == (4 // spec.documents, spec.n_classes)
    # Not a sum of squares: after batch norm that is nearly constant and some gradients would vanish.
    (logits * torch.randn_like(logits)).sum().backward()
    dead = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not dead
    assert sum(p.numel() for g in parameter_groups(net).values() for p in g) == sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(("target", "kwargs"), CAUSAL, ids=str)
def test_causal_mixers_do_not_look_ahead(target, kwargs):
    torch.manual_seed(0)
    mixer = build_mixer(target, 8, kwargs).eval()
    x = torch.randn(2, 10, 8)
    changed = x.clone()
    changed[:, 6:] += 1

    def run(x):
        y = mixer(x)
        return y[0] if isinstance(y, tuple) else y

    torch.testing.assert_close(run(x)[:, :6], run(changed)[:, :6], rtol=0, atol=1e-6)
    assert not torch.allclose(run(x)[:, 6:], run(changed)[:, 6:], atol=1e-3)


@pytest.mark.parametrize("target", ["hgru", "attention"])
def test_mixers_look_both_ways_by_default(target):
    torch.manual_seed(0)
    mixer, x = build_mixer(target, 8, {}), torch.randn(1, 10, 8)
    changed = x.clone()
    changed[:, 5] += 1
    assert ((mixer(x) - mixer(changed)).abs().amax(-1) > 1e-6).all()


@pytest.mark.parametrize(("target", "kwargs"), MIXERS, ids=str)
def test_state_dict_holds_the_whole_model(target, kwargs):
    options = {"target": target, "kwargs": kwargs, "norm": "batch", "positions": "sinusoidal"}
    net, other = settle(build(**options)), build(seed=5, **options).eval()
    inputs = tokens()
    assert not torch.equal(net(inputs, LENGTHS), other(inputs, LENGTHS))
    other.load_state_dict(net.state_dict())
    assert torch.equal(net(inputs, LENGTHS), other(inputs, LENGTHS))


@pytest.mark.parametrize(("target", "kwargs"), MIXERS, ids=str)
def test_construction_depends_on_the_seed_only(target, kwargs):
    a, b, c = (build(target=target, kwargs=kwargs, positions="learned", seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not all(torch.equal(a[name], c[name]) for name in a)


@pytest.mark.parametrize(("target", "kwargs"), MIXERS, ids=str)
def test_shortest_inputs(target, kwargs):
    net = build(target=target, kwargs=kwargs, norm="batch")
    assert net(torch.tensor([[3]]), torch.tensor([1])).isfinite().all()  # one sample of one step, training
    empty = settle(net)(torch.zeros(2, 4, dtype=torch.int64), torch.tensor([0, 4]))
    assert empty.isfinite().all()


def test_pair_of_documents():
    """Each document is encoded by itself; exchanging the documents of a pair exchanges u and v."""
    net = build(PAIRS).eval()
    vectors = []
    net.head.register_forward_pre_hook(lambda module, args: vectors.append(args[0]))
    lengths = torch.tensor([9, 3, 4, 7])
    inputs = tokens(lengths)
    logits, swapped = net(inputs, lengths), net(inputs.roll(2, 0), lengths.roll(2, 0))
    torch.testing.assert_close(vectors[1], vectors[0].roll(2, 0))
    assert not torch.allclose(logits, swapped, atol=1e-4)
    u, v = vectors[0][:2], vectors[0][2:]
    torch.testing.assert_close(logits, net.head.mlp(torch.cat([u, v, u - v, u * v], dim=-1)))
    for i in range(2):  # the pairs do not mix
        pair = torch.tensor([i, i + 2])
        torch.testing.assert_close(net(inputs[pair], lengths[pair]), logits[i : i + 1], rtol=1e-4, atol=1e-5)


def test_pixels_are_pooled_over_the_whole_image():
    net = build(PIXELS).eval()
    values = torch.rand(2, 16)
    vectors = []
    net.norm.register_forward_hook(lambda module, args, output: vectors.append(output))
    logits = net(values, torch.tensor([16, 16]))
    torch.testing.assert_close(logits, net.head(vectors[0].mean(1)))


def test_lower_bounds_are_reported_per_layer():
    bounds = build(layers=4).lower_bounds()
    assert bounds.shape == (4, 8)
    assert (bounds[0] == 0).all()
    assert (bounds.diff(dim=0) > 0).all()
    assert build(kwargs={"lower_bound": False}).lower_bounds() is None
    assert build(target="attention").lower_bounds() is None


def test_lower_bound_reaches_the_layers():
    net, without = build(layers=3).eval(), build(layers=3, kwargs={"lower_bound": False}).eval()
    without.load_state_dict(net.state_dict(), strict=False)
    a, b = net(tokens(), LENGTHS), without(tokens(), LENGTHS)
    assert not torch.allclose(a, b, atol=1e-3)
    with torch.no_grad():
        net.lower_bound.gamma[-1] = 40.0  # all of the softmax lies on the last layer: every bound is 0
    torch.testing.assert_close(net(tokens(), LENGTHS), b)


@pytest.mark.parametrize("options", [{"d_model": 0}, {"layers": 0}, {"expansion": 0.01}])
def test_sizes_must_be_positive(options):
    with pytest.raises(UserError, match="at least 1"):
        build(**options)


def test_dropout_acts_in_training_only():
    inputs = tokens()
    for options in ({"dropout": 0.5}, {"position_dropout": 0.5}):
        net = build(**options)
        assert not torch.equal(net(inputs, LENGTHS), net(inputs, LENGTHS))
        net.eval()
        assert torch.equal(net(inputs, LENGTHS), net(inputs, LENGTHS))


@pytest.mark.parametrize("norm", ["layer", "batch", "rms"])
@pytest.mark.parametrize(("target", "kwargs"), MIXERS[:-1], ids=str)
def test_autocast(target, kwargs, norm):
    net = build(target=target, kwargs=kwargs, norm=norm, positions="sinusoidal")
    exact = net(tokens(), LENGTHS)
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(tokens(), LENGTHS)
    torch.testing.assert_close(logits.float(), exact, rtol=0.1, atol=0.1)
    logits.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("target", ["hgru", "attention"])
@pytest.mark.parametrize("spec", [PAIRS, PIXELS], ids=lambda spec: spec.name)
def test_forward_is_one_graph(spec, target):
    torch.compiler.reset()
    net = settle(build(spec, target, norm="batch", positions="sinusoidal"))
    lengths = torch.tensor([11, 16, 3, 16])
    inputs = torch.rand(4, 16) if spec is PIXELS else tokens(lengths, 16)
    traced = torch.compile(net, fullgraph=True, backend="eager")
    torch.testing.assert_close(traced(inputs, lengths), net(inputs, lengths))


class Checkpointed(nn.Module):
    """A block whose activations are not kept but computed again in the backward pass."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, *arguments):
        return checkpoint(self.block, *arguments, use_reentrant=False)


def assert_same_step(net, other, inputs, lengths, autocast=False, **tolerance):
    """Equal logits, and equal gradients of every parameter."""
    steps = []
    for module in (net, other):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = module(inputs, lengths)
        weights = torch.arange(1, 1 + logits.numel()).view_as(logits)
        steps.append([logits, *torch.autograd.grad((logits * weights).sum(), list(module.parameters()))])
    for name, a, b in zip(["logits", *dict(net.named_parameters())], *steps, strict=True):
        torch.testing.assert_close(a, b, **tolerance, msg=lambda text, name=name: f"{name}: {text}")


UNITS = [{}, {"causal": True}, {"complex": False, "output": "paper"}, {"output_gate": False}, {"input_forget": False}]


WAYS = ["checkpointed", "compiled and checkpointed", "compiled under autocast"]


@pytest.mark.parametrize(
    ("way", "kwargs"), [*(("compiled", unit) for unit in UNITS), *((way, {}) for way in WAYS)], ids=str
)
def test_hgrn_compiled_or_checkpointed_takes_the_same_step(way, kwargs):
    torch.compiler.reset()
    net = build(kwargs=kwargs, positions="sinusoidal")
    twin = copy.deepcopy(net)
    if "checkpointed" in way:
        twin.blocks = nn.ModuleList(map(Checkpointed, twin.blocks))
    if "compiled" in way:
        twin = torch.compile(twin, fullgraph=True, backend="aot_eager")
    for length in (9, 6):  # the second compiles again, with a dynamic length
        inputs, lengths = tokens()[:, :length], LENGTHS.clamp(max=length)
        if "autocast" in way:  # where values are rounded to bfloat16 is the compiler's choice, and it has changed
            assert_same_step(net, twin, inputs, lengths, autocast=True, rtol=0.02, atol=0.02)
        else:
            assert_same_step(net, twin, inputs, lengths, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # inductor's own
@pytest.mark.parametrize(("spec", "target"), [(PAIRS, "hgru"), (PIXELS, "attention")])
def test_compiled_classifier_has_the_same_logits_and_gradients(spec, target):
    torch.compiler.reset()
    net = build(spec, target, norm="batch", positions="sinusoidal")
    compiled = torch.compile(copy.deepcopy(net), fullgraph=True)
    for length in (16, 11):  # the second compiles again, with a dynamic length
        lengths = torch.tensor([length, 3, length, 7])
        inputs = torch.rand(4, length) if spec is PIXELS else tokens(lengths, length)
        assert_same_step(net, compiled, inputs, lengths, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(("target", "kwargs"), MIXERS, ids=str)
def test_the_learnt_token_is_pooled(target, kwargs):
    """With pooling "cls" the head reads the first position, which padding and batch mates do not change."""
    options = {"target": target, "kwargs": kwargs, "pooling": "cls", "positions": "learned"}
    net = settle(build(**options))
    vectors = []
    net.norm.register_forward_hook(lambda module, args, output: vectors.append(output))
    together = net(tokens(pad=7), LENGTHS)
    assert vectors[0].shape == (3, 10, 8)
    torch.testing.assert_close(together, net.head(vectors[0][:, 0]))
    alone = torch.cat([net(row[None, :n], n[None]) for row, n in zip(tokens(), LENGTHS, strict=True)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert net.embedding.table.shape == (33, 8)  # the token has a position of its own
    net(tokens(), LENGTHS).sum().backward()
    assert net.embedding.cls.grad.abs().max() > 0


def test_pooled_token_of_a_full_length_input():
    net = build(PIXELS, target="attention", pooling="cls", positions="sinusoidal")
    assert net(torch.rand(2, 16), torch.tensor([16, 16])).isfinite().all()


def test_heads():
    single, pair = build(head_hidden=5).head, build(PAIRS, head_hidden=5).head.mlp
    assert [layer.weight.shape for layer in single if hasattr(layer, "weight")] == [(5, 8), (3, 5)]
    assert [layer.weight.shape for layer in pair if hasattr(layer, "weight")] == [(5, 32), (2, 5)]
    x = torch.randn(2, 8)
    torch.testing.assert_close(single(x), single[2]((x @ single[0].weight.T + single[0].bias).clamp(min=0)))
    assert build().head.weight.shape == (3, 8)


def test_mlp_channel_mixer_is_the_published_formula():
    mixer = build(channel_mixer="mlp", expansion=2).blocks[0].channel_mixer
    x = torch.randn(2, 5, 8)
    hidden = x @ mixer.in_proj.weight.T + mixer.in_proj.bias
    assert hidden.shape == (2, 5, 16)
    hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    torch.testing.assert_close(mixer(x), hidden @ mixer.out_proj.weight.T + mixer.out_proj.bias)
