"""torch.compile of a network, and CUDA graphs of what it makes."""

import torch
from torch import nn

from lra_hgrn.config import TrainConfig
from lra_hgrn.errors import UserError
from lra_tasks import TaskSpec


def compile_network(net: nn.Module, training: TrainConfig, device: torch.device, spec: TaskSpec) -> None:
    """Compile a network where ``train.compile`` asks for it; the recurrence stays an operator of the graph.

    It is the network and not the LightningModule, whose logging would break the graph. With ``train.cuda_graphs`` each
    shape of a batch is recorded once and replayed: no kernel waits for the host to launch it.

    Raises:
        UserError: CUDA graphs without compilation or without a GPU, or of inputs whose lengths differ.
    """
    if training.cuda_graphs:
        if not training.compile:
            raise UserError("train.cuda_graphs=true records what torch.compile makes: add train.compile=true.")
        if device.type != "cuda":
            raise UserError("train.cuda_graphs=true needs a GPU, and this run computes on a CPU: leave it out.")
        if spec.variable:
            raise UserError(
                f"train.cuda_graphs=true needs inputs of one length, and those of {spec.name} differ: leave it out."
            )
    if training.compile:
        net.compile(mode="reduce-overhead" if training.cuda_graphs else None)
