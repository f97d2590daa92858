"""AdamW over three groups of parameters, and its learning-rate schedule."""

import math
from functools import partial

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from lra_hgrn.config import OptimConfig
from lra_hgrn.errors import UserError
from lra_hgrn.models import parameter_groups


def build_optimizer(net: nn.Module, config: OptimConfig, precision: str = "32") -> AdamW:
    """Make AdamW; recurrence parameters have their own learning rate and no decay, nor have norms and biases.

    All updates are one kernel, but for ``train.precision=16``, whose gradients are unscaled before they are clipped,
    and for a model of yours with complex parameters: of these torch has no such kernel.
    """
    groups = parameter_groups(net)
    fused = precision != "16" and all(parameter.is_floating_point() for parameter in net.parameters())
    recurrence_lr = config.lr if config.recurrence_lr is None else config.recurrence_lr
    settings = {
        "decay": {"lr": config.lr, "weight_decay": config.weight_decay},
        "no_decay": {"lr": config.lr, "weight_decay": 0.0},
        "recurrence": {"lr": recurrence_lr, "weight_decay": 0.0},
    }
    filled = [{"params": groups[name], **settings[name]} for name in settings if groups[name]]
    return AdamW(filled, betas=(config.beta1, config.beta2), fused=fused)


def schedule_end(config: OptimConfig, total_steps: int) -> int:
    """Return the step at which the schedule ends.

    Raises:
        UserError: the cosine would end before the warm-up does.
    """
    end = total_steps if config.schedule_steps is None else config.schedule_steps
    if config.schedule == "cosine" and end <= config.warmup_steps:
        raise UserError(
            f"The cosine ends at step {end}, within the {config.warmup_steps} steps of warm-up: "
            "lower optim.warmup_steps or raise optim.schedule_steps or train.epochs."
        )
    return end


def build_schedule(optimizer: AdamW, config: OptimConfig, end: int) -> LambdaLR:
    """Make the schedule of the learning rate over steps; see `lr_factor`."""
    return LambdaLR(optimizer, partial(lr_factor, config=config, end=end))


def lr_factor(step: int, config: OptimConfig, end: int) -> float:
    """Return the learning rate of the step with this index (0 is the first) over its peak.

    Linear from 0 over `warmup_steps`, then half a cosine down to `min_lr` at step `end`, where it stays: the
    schedule of SGDR (Loshchilov & Hutter, 2017, equation 5) without restarts. With `past_end` the cosine goes on: it
    is back at the peak after as many steps again, and falls anew, as ``get_cosine_schedule_with_warmup`` of the
    transformers library does, with which HGRN's authors trained.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    progress = (step - config.warmup_steps) / (end - config.warmup_steps)
    if not config.past_end:
        progress = min(1.0, progress)
    return config.min_lr + (1 - config.min_lr) * 0.5 * (1 + math.cos(math.pi * progress))
