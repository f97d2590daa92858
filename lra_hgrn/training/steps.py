"""Steps of training and of evaluation outside a run, for measuring, and batches that need no data."""

import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from lra_hgrn.config import Config
from lra_hgrn.models import build_classifier
from lra_hgrn.models.precision import autocast
from lra_hgrn.training.compiling import compile_network
from lra_hgrn.training.optim import build_optimizer
from lra_tasks import TaskSpec
from lra_tasks.loader import Batch


class Steps:
    """The network of a cell with its optimiser, and how long its steps take.

    Args:
        config: the cell.
        spec: shape of its samples.
        device: where to compute.
        waits: wait for the device around each step, whose seconds mean nothing otherwise.

    Raises:
        UserError: the model cannot be built for such samples.
    """

    def __init__(self, config: Config, spec: TaskSpec, device: torch.device, waits: bool = True) -> None:
        self.device = device
        self.waits = waits
        self.config = config
        self.net: Any = build_classifier(spec, config.model)
        compile_network(self.net, config.train, device, spec)
        self.net.to(device)
        self.optimizer = build_optimizer(self.net, config.optim, config.train.precision)

    def train(self, batch: Batch) -> float:
        """Take one step, forward, backward, clipping and update, and return its seconds."""
        self.net.train()
        began = self._now()
        self.optimizer.zero_grad()
        F.cross_entropy(self._logits(batch).float(), batch.labels).backward()
        if self.config.optim.clip:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.config.optim.clip)
        self.optimizer.step()
        return self._now() - began

    @torch.inference_mode()
    def evaluate(self, batch: Batch) -> float:
        """Classify a batch and return the seconds."""
        self.net.eval()
        began = self._now()
        self._logits(batch).argmax(dim=-1).cpu()
        return self._now() - began

    def _logits(self, batch: Batch) -> torch.Tensor:
        with autocast(self.device, self.config.train.precision):
            return self.net(batch.inputs, batch.lengths)

    def now(self) -> float:
        """Wait for the device and return the time in seconds."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _now(self) -> float:
        return self.now() if self.waits else time.perf_counter()


def synthetic_batch(spec: TaskSpec, samples: int, device: torch.device) -> Batch:
    """Return random samples of a task's shape, all of its full length."""
    rows, length = samples * spec.documents, spec.max_length
    if spec.inputs == "tokens":
        inputs = torch.randint(1, spec.vocab_size, (rows, length), device=device)
    else:
        inputs = torch.randn(rows, length, *spec.step_shape, device=device)
    lengths = torch.full((rows,), length, device=device)
    return Batch(inputs, lengths, torch.randint(spec.n_classes, (samples,), device=device))
