"""Parameter groups and the learning-rate schedule."""

import itertools
import math

import pytest
import torch

from lra_hgrn.config import ModelConfig, OptimConfig
from lra_hgrn.errors import UserError
from lra_hgrn.models import build_classifier
from lra_hgrn.training.optim import build_optimizer, lr_factor, schedule_end
from lra_tasks import TaskSpec


def test_warm_up_is_linear_and_the_cosine_never_rises_again():
    config = OptimConfig(warmup_steps=10, schedule_steps=110, min_lr=0.1)
    factors = [lr_factor(step, config, 110) for step in range(400)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10] == 1
    assert factors[60] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 2)) / 2)
    assert all(later <= earlier for earlier, later in itertools.pairwise(factors[10:]))
    assert factors[110:] == pytest.approx([0.1] * 290)


def test_torch_agrees_with_the_cosine():
    parameter = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50, eta_min=0.2)
    config = OptimConfig(min_lr=0.2)
    for step in range(51):
        assert lr_factor(step, config, 50) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("least", [0.0, 0.2])
def test_torch_agrees_with_the_cosine_past_its_end(least):
    """CosineAnnealingLR goes from one rate to the next, and rises again after T_max."""
    parameter = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50, eta_min=least)
    config = OptimConfig(min_lr=least, past_end=True, warmup_steps=7)
    for step in range(170):
        assert lr_factor(7 + step, config, 57) == pytest.approx(schedule.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        schedule.step()
    assert [lr_factor(step, config, 57) for step in (0, 6)] == pytest.approx([1 / 7, 1])


def test_the_released_schedules_end_where_the_recipes_say():
    """Of the steps that epochs and batches make, by hand: at the end of the cosine, at its next peak, at the last."""
    image = OptimConfig(warmup_steps=30_000, schedule_steps=50_000, past_end=True)
    found = [lr_factor(step, image, 50_000) for step in (50_000, 70_000, 90_000)]
    assert found == pytest.approx([0, 1, 0], abs=1e-9)
    pathx = OptimConfig(warmup_steps=150_000, schedule_steps=500_000, past_end=True)
    found = [lr_factor(step, pathx, 500_000) for step in (500_000, 850_000, 1_000_000)]
    assert found == pytest.approx([0, 1, (1 + math.cos(17 / 7 * math.pi)) / 2], abs=1e-9)
    assert round(found[2], 2) == 0.61


def test_constant_after_warm_up():
    config = OptimConfig(schedule="constant", warmup_steps=4)
    assert [lr_factor(step, config, 10) for step in (0, 3, 4, 99)] == [0.25, 1, 1, 1]


def test_a_cosine_that_ends_in_the_warm_up_is_refused():
    with pytest.raises(UserError, match=r"ends at step 20, within the 20 steps of warm-up: lower optim\.warmup_steps"):
        schedule_end(OptimConfig(warmup_steps=20), 20)
    assert schedule_end(OptimConfig(warmup_steps=20, schedule="constant"), 20) == 20
    assert schedule_end(OptimConfig(warmup_steps=20, schedule_steps=30), 5) == 30


def test_recurrence_parameters_have_their_own_rate_and_no_decay():
    net = build_classifier(TaskSpec("x", "tokens", 5, 2, 8), ModelConfig(name="x", d_model=4))
    optimizer = build_optimizer(net, OptimConfig(lr=0.1, recurrence_lr=0.01, weight_decay=0.5, beta2=0.9))
    settings = {
        name: (group["lr"], group["weight_decay"], group["betas"])
        for name, parameter in net.named_parameters()
        for group in optimizer.param_groups
        if any(parameter is other for other in group["params"])
    }
    assert settings.keys() == dict(net.named_parameters()).keys()
    for name, found in settings.items():
        recurrent = name.startswith("lower_bound.") or name.endswith("theta")
        vector = dict(net.named_parameters())[name].ndim < 2
        assert found == (0.01 if recurrent else 0.1, 0.0 if recurrent or vector else 0.5, (0.9, 0.9)), name
