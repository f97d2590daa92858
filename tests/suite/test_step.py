"""The training step: nothing in it waits for the host, how it is compiled and traced, what it logs."""

import gzip
import json
import math

import pytest
import torch
from small_models import LENGTHS, PIXELS, TEXT, distinct_models, tokens
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lra_hgrn.config import Config, ModelConfig, OptimConfig, TrainConfig, from_plain
from lra_hgrn.errors import UserError
from lra_hgrn.models import build_classifier
from lra_hgrn.training import environment, profile
from lra_hgrn.training.compiling import compile_network
from lra_hgrn.training.module import Classification, SplitMetrics
from lra_hgrn.training.optim import build_optimizer
from lra_hgrn.training.run import train
from lra_tasks.loader import Batch

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Waits(TorchDispatchMode):
    """Collect operations for which a GPU would stop: values read by the host, and tensors made of its numbers."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function)
        if any(word in name for word in ("_local_scalar_dense", "lift_fresh", "nonzero", "masked_select", "unique")):
            self.found.add(name)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", [name for name, model in distinct_models().items() if model.target != "hgru2d"])
def test_a_step_neither_waits_for_the_device_nor_copies_to_it(name):
    model = ModelConfig(**{**vars(distinct_models()[name]), "layers": 2, "d_model": 8})
    model.kwargs = {key: value for key, value in model.kwargs.items() if key != "heads"}
    net = build_classifier(TEXT, model)
    module = Classification(net, TEXT.n_classes, Config(model=model, optim=OptimConfig(clip=1.0)), total_steps=10)
    optimizer = module.configure_optimizers()["optimizer"]
    batch = Batch(tokens(), LENGTHS, torch.tensor([0, 1, 2]))
    with Waits() as waits:
        module.training_step(batch, 0).backward()
        module.configure_gradient_clipping(optimizer, 1.0)
        optimizer.step()
    assert waits.found == set()
    with Waits() as waits:
        float(module.train_metrics.pop()[0])
    assert waits.found  # where rows are written is where the host waits


def test_the_loss_of_a_split_is_its_mean_over_samples():
    metrics = SplitMetrics(2, persistent=False)
    for loss, size in ((1.0, 3), (5.0, 1)):
        metrics.update(torch.tensor(loss), torch.eye(2)[[0] * size], torch.tensor([0] * size))
    assert metrics.pop() == (2.0, 1.0, 4)


def test_updates_are_one_kernel_where_torch_has_one():
    net = nn.Linear(2, 2)
    assert build_optimizer(net, OptimConfig()).defaults["fused"]
    assert build_optimizer(net, OptimConfig(), "bf16").defaults["fused"]
    assert not build_optimizer(net, OptimConfig(), "16").defaults["fused"]
    net.weight = nn.Parameter(net.weight.to(torch.complex64))
    assert not build_optimizer(net, OptimConfig()).defaults["fused"]


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_gradients_are_clipped_before_a_fused_update(precision, tmp_path):
    """Lightning refuses to clip for fused optimisers under autocast; the clipped run must differ from the other."""
    losses = []
    for clip in (0.0, 1e-4):
        values = {
            "task": {"name": "toy_task.Toy", "data_dir": str(tmp_path / "data")},
            "model": {"name": "HGRN", "d_model": 8},
            "optim": {"lr": 0.01, "clip": clip},
            "train": {"batch_size": 16, "accelerator": "cpu", "precision": precision},
        }
        directory = tmp_path / f"{clip}"
        train(from_plain(values, "test"), directory)
        losses.append((directory / "metrics.csv").read_text().splitlines()[1].split(",")[3])
    assert losses[0] != losses[1]


def test_profile(tmp_path):
    values = {
        "task": {"name": "toy_task.Toy", "data_dir": str(tmp_path / "data")},
        "model": {"name": "HGRN", "d_model": 8},
        "train": {"batch_size": 16, "accelerator": "cpu"},
        "profile": True,
    }
    train(from_plain(values, "test"), tmp_path / "run")
    folder = tmp_path / "run" / "profile"
    assert sorted(path.name for path in folder.iterdir()) == ["table.txt", "trace.json.gz"]
    with gzip.open(folder / "trace.json.gz") as file:
        events = json.load(file)["traceEvents"]
    for phase in profile.PHASES:
        assert sum(event.get("name") == phase and event.get("ph") == "X" for event in events) == profile.TRACED
    phases, _, operations = (folder / "table.txt").read_text().partition("\n\n")
    shares = [float(line.split()[-1].rstrip("%")) for line in phases.splitlines()[1:]]
    assert len(shares) == 4
    assert sum(shares) == pytest.approx(100, abs=0.3)
    assert "hgrn_kernels::cpu_recurrence" in operations
    with pytest.raises(UserError, match="traces steps up to the 9th, and this training has 8"):
        profile.Profile(tmp_path, 8)


def test_compilation_and_cuda_graphs():
    calls = []

    class Net(nn.Module):
        def compile(self, **options):
            calls.append(options)

    compile_network(Net(), TrainConfig(), CPU, TEXT)
    compile_network(Net(), TrainConfig(compile=True), CPU, TEXT)
    compile_network(Net(), TrainConfig(compile=True, cuda_graphs=True), GPU, PIXELS_OF_ONE_LENGTH)
    assert calls == [{"mode": None}, {"mode": "reduce-overhead"}]
    for training, device, spec, words in (
        (TrainConfig(cuda_graphs=True), GPU, PIXELS_OF_ONE_LENGTH, "add train.compile=true"),
        (TrainConfig(cuda_graphs=True, compile=True), CPU, PIXELS_OF_ONE_LENGTH, "needs a GPU"),
        (TrainConfig(cuda_graphs=True, compile=True), GPU, TEXT, "those of text differ"),
    ):
        with pytest.raises(UserError, match=words):
            compile_network(Net(), training, device, spec)


PIXELS_OF_ONE_LENGTH = type(PIXELS)(**{**vars(PIXELS), "variable": False})


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "max 100000\n"}, math.inf),
        ({"cpu.max": "250000 100000\n"}, 2.5),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        ({}, math.inf),
    ],
)
def test_threads_stay_within_what_a_container_grants(files, quota, tmp_path, monkeypatch):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert environment._cpu_quota(tmp_path) == quota
    monkeypatch.setattr(environment, "_cpu_quota", lambda groups: quota)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert environment.thread_count(0) == max(1, round(min(8, quota)))
    assert environment.thread_count(3) == 3
