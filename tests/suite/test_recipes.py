"""Every recipe composes, builds and trains for two steps, and says which published figure it stands for."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch.nn.utils import parameters_to_vector

from lra_hgrn.config import compose
from lra_hgrn.config.compose import config_dir
from lra_hgrn.models import build_classifier
from lra_hgrn.models.match import build_without_weights, task_spec
from lra_hgrn.results.published import load_published
from lra_hgrn.training.data import build_task
from lra_hgrn.training.optim import build_optimizer, build_schedule, schedule_end

RECIPES = sorted(path.relative_to(config_dir() / "recipes") for path in (config_dir() / "recipes").rglob("*.yaml"))
STEPS, WIDEST, DEEPEST = 2, 32, 2  # the parts of a recipe that repeat are cut, or this would take minutes


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_a_recipe_is_built_at_full_size_and_takes_two_steps(recipe):
    model, task = recipe.parent.name, recipe.stem
    full = compose(model, task).config
    assert sum(parameter.numel() for parameter in build_without_weights(task_spec(full), full.model).parameters())
    total = full.train.epochs * -(-build_task(full).sizes["train"] // full.train.batch_size)
    if full.stands_for is not None:
        assert task in load_published()[full.stands_for].figures

    small = dataclasses.replace(full, task=dataclasses.replace(full.task, scale="tiny"))
    width, layers = min(WIDEST, full.model.d_model), min(DEEPEST, full.model.layers)
    small.model = dataclasses.replace(full.model, d_model=width, layers=layers)
    spec = task_spec(small)
    torch.manual_seed(0)
    net = build_classifier(spec, small.model)
    optimizer = build_optimizer(net, small.optim)
    schedule = build_schedule(optimizer, small.optim, schedule_end(small.optim, total))
    before = parameters_to_vector(net.parameters()).detach()
    for _ in range(STEPS):
        loss = F.cross_entropy(net(*batch(spec)), torch.tensor([0, 1]))
        assert 0 < loss.item() < 20
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    after = parameters_to_vector(net.parameters())
    assert after.isfinite().all()
    assert not torch.equal(after, before)
    assert all(parameter.grad is not None for parameter in net.parameters())


def batch(spec):
    """Two samples of random steps, one of them padded where the task's inputs are."""
    rows = 2 * spec.documents
    lengths = torch.full((rows,), spec.max_length)
    if spec.variable:
        lengths[1] = spec.max_length // 2
    if spec.inputs == "tokens":
        return torch.randint(1, spec.vocab_size, (rows, spec.max_length)), lengths
    return torch.randn(rows, spec.max_length, *spec.step_shape), lengths


def test_hgrn_has_a_strict_and_a_released_recipe_for_every_task():
    for task in ("listops", "text", "retrieval", "image", "pathfinder", "pathx"):
        strict, released = compose("hgrn", task).config, compose("hgrn-released", task).config
        assert strict.stands_for == released.stands_for == "hgrn"
        assert (strict.model.target, strict.model.mask_padding, strict.task.augment) == ("hgru", True, False)
        images = task in ("image", "pathfinder", "pathx")
        assert (released.model.target, released.model.mask_padding) == ("hgru2d" if images else "hgru", images)
        assert released.optim.past_end == (task in ("image", "pathx"))
