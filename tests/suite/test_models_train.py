"""Every model takes steps on every task at scale tiny, and learns one of them."""

import pytest
import torch
import torch.nn.functional as F
from small_models import distinct_models

from lra_hgrn.config.compose import compose_model
from lra_hgrn.errors import UserError
from lra_hgrn.models import build_classifier
from lra_hgrn.results.stats import above_chance
from lra_tasks import get_task, task_names

SMALL = {"d_model": 16, "layers": 2, "norm": "batch", "positions": "sinusoidal"}
IMAGES_ONLY = ["hgrn-2d"]
OPTIONS = {"nystromformer": ["model.kwargs.landmarks=16"]}  # 64 landmarks of 128 characters take their time


@pytest.fixture(scope="session", params=task_names())
def task(request, tmp_path_factory):
    source = None if "generated" in get_task(request.param).card.sources else "mini"
    task = get_task(request.param)(
        scale="tiny", source=source, data_dir=tmp_path_factory.mktemp("tiny"), batch_size=4, workers=2
    )
    task.prepare_data()
    task.setup()
    return task


def build(model, task, **options):
    torch.manual_seed(0)
    config = compose_model(model, OPTIONS.get(model, []), {**SMALL, **options})
    return build_classifier(task.spec, config)


def step(net, optimizer, batch):
    """Take a training step and return its loss."""
    loss = F.cross_entropy(net(batch.inputs, batch.lengths), batch.labels)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
    return loss.item()


@pytest.mark.parametrize("model", distinct_models())
def test_steps_on_every_task_are_finite(model, task):
    if model in IMAGES_ONLY and not task.spec.side:
        with pytest.raises(UserError, match="scans images, and this task has none"):
            build(model, task)
        return
    net = build(model, task)
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    batches = iter(task.train_dataloader())
    losses = [step(net, optimizer, next(batches)) for _ in range(3)]
    assert all(0 < loss < 20 for loss in losses), losses
    still = [name for name, parameter in net.named_parameters() if torch.equal(parameter, before[name])]
    assert not still
    assert all(parameter.isfinite().all() for parameter in net.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("model", distinct_models())
def test_every_model_learns_a_task(model, tmp_path_factory):
    """Text in miniature, or Image for models of images, in 300 steps: above chance beyond noise."""
    name, steps, width = ("image", 400, 32) if model in IMAGES_ONLY else ("text", 300, 16)
    folder = tmp_path_factory.getbasetemp() / "learn"
    task = get_task(name)(scale="tiny", source="mini", data_dir=folder, batch_size=32, bucket_batches=20, workers=2)
    task.prepare_data()
    task.setup()
    net = build(model, task, d_model=width, norm="layer")
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    done = 0
    while done < steps:
        for batch in task.train_dataloader():
            step(net, optimizer, batch)
            done += 1
            if done == steps:
                break
    correct = total = 0
    net.eval()
    with torch.no_grad():
        for batch in task.val_dataloader():
            correct += int((net(batch.inputs, batch.lengths).argmax(-1) == batch.labels).sum())
            total += len(batch.labels)
    assert above_chance(correct, total, 1 / task.spec.n_classes)
    assert correct > (0.3 if name == "image" else 0.7) * total
