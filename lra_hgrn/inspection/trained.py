"""A trained run, back from its folder: configuration, task and model with the weights of a checkpoint."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from lra_hgrn.config import Config, from_plain
from lra_hgrn.config.compose import read_yaml
from lra_hgrn.errors import UserError
from lra_hgrn.models import build_classifier
from lra_hgrn.progress import Reporter
from lra_hgrn.results.files import CONFIG
from lra_hgrn.results.record import FILE, load_record
from lra_hgrn.training import environment
from lra_hgrn.training.checkpoints import BEST, LAST, load_checkpoint
from lra_hgrn.training.data import build_task
from lra_tasks import BatchLoader, LRATask
from lra_tasks.loader import Batch
from lra_tasks.store import Split

CHECKPOINTS = {"best": BEST, "last": LAST}


@dataclass(frozen=True)
class Trained:
    """A trained model, in evaluation mode and float32, with its task."""

    config: Config
    task: LRATask
    net: nn.Module
    untrained: nn.Module  # as it was before the first step, from the seed of the run
    step: int  # of the checkpoint
    device: torch.device

    def batches(self, split: str, samples: np.ndarray, batch_size: int | None = None) -> Iterator[Batch]:
        """Yield the samples with these numbers, in this order, on the device of the model."""
        whole = self.task.split(split)
        part = Split(whole.tokens, whole.offsets, whole.labels[samples], whole.documents(samples).T)
        size = batch_size or self.task.eval_batch_size or self.task.batch_size
        for batch in BatchLoader(part, self.task.spec, size, shuffle=False, device=self.task.device):
            yield batch.to(self.device)


def load_trained(directory: Path, checkpoint: str, data_dir: Path | None, reporter: Reporter) -> Trained:
    """Rebuild task and model of a run as training does, on the GPU if there is one and the run did not ask for a CPU.

    The data are prepared if they are not there, and must be those that the run was trained on.

    Raises:
        UserError: the folder holds no run or no such checkpoint, or one that does not fit; other data.
    """
    config = read_config(directory)
    if data_dir is not None:
        config.task.data_dir = str(data_dir)
    path = directory / CHECKPOINTS[checkpoint]
    if not path.is_file():
        raise UserError(f"{directory} has no {path.name}: train the run, or choose another --checkpoint.")
    torch.set_num_threads(environment.thread_count(config.train.threads))
    gpu = config.train.accelerator != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda", torch.cuda.current_device()) if gpu else torch.device("cpu")
    task = build_task(config, device if gpu else None)
    task.prepare_data(lambda phase, done, total: reporter.update(phase, done, total or 0))
    task.setup("test")
    _check_data(directory, task)
    L.seed_everything(config.seed, verbose=False)
    net = build_classifier(task.spec, config.model)
    untrained = copy.deepcopy(net)
    step = _load_weights(net, path)
    return Trained(config, task, net.to(device).eval(), untrained.to(device).eval(), step, device)


def read_config(directory: Path) -> Config:
    """Read the configuration that a run left in its folder."""
    path = directory / CONFIG
    if not path.is_file():
        raise UserError(f"{directory} holds no run: there is no {CONFIG} in it.")
    return from_plain(read_yaml(path, str(path)), str(path))


def _check_data(directory: Path, task: LRATask) -> None:
    path = directory / FILE
    trained_on = load_record(path).data_fingerprint if path.is_file() else None
    if trained_on is not None and trained_on != task.fingerprint:
        raise UserError(
            f"The data in {task.folder} are not those that {directory} was trained on: give their --data-dir."
        )


def _load_weights(net: nn.Module, path: Path) -> int:
    """Load the weights of a training checkpoint and return its step."""
    content = load_checkpoint(path)
    try:
        weights: dict[str, Tensor] = {
            name.removeprefix("net."): tensor
            for name, tensor in content["state_dict"].items()
            if name.startswith("net.")
        }
        net.load_state_dict(weights)
        return int(content["global_step"])
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        reason = reason if len(reason) <= 200 else reason[:200] + " …"
        raise UserError(f"The checkpoint {path} does not fit the model of {CONFIG} beside it ({reason}).") from None
