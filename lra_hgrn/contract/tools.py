"""How a model under check is run, and how results are compared."""

import torch
from torch import Tensor, nn

from lra_hgrn.contract.subject import LENGTH, Subject
from lra_tasks.findings import need

TOLERANCE = 1e-4  # of the largest value, in float32


def lengths_of(subject: Subject, x: Tensor) -> Tensor | None:
    """Return full and half lengths in turn, or None for images."""
    if subject.square:
        return None
    length = x.shape[1]
    return torch.tensor([length if row % 2 == 0 else max(1, length // 2) for row in range(len(x))], device=x.device)


def run(subject: Subject, net: nn.Module, x: Tensor) -> Tensor:
    """Return the outputs that count for x with `lengths_of` it."""
    lengths = lengths_of(subject, x)
    whole = torch.full((len(x),), x.shape[1], device=x.device)
    return subject.outputs(net(x, lengths), whole if lengths is None else lengths)


def train_step(
    subject: Subject, net: nn.Module, length: int = LENGTH, batch: int = 2
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return outputs and the gradients of their weighted sum, by name of the parameter."""
    x = subject.inputs(batch, length)
    net.zero_grad()
    y = run(subject, net, x)
    weights = torch.linspace(-1, 1, y.numel(), device=y.device).cos().reshape(y.shape)
    (y.float() * weights).sum().backward()
    return y.detach(), {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


def distance(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference over the largest expected value."""
    found, expected = found.detach().float(), expected.detach().float()
    if not found.isfinite().all():
        return float("inf")
    largest = expected.abs().max().clamp(min=1e-12)
    return float((found - expected).abs().max() / largest)


def need_close(found: Tensor, expected: Tensor, complaint: str, tolerance: float = TOLERANCE) -> None:
    """Raise Broken with ``complaint`` if two results differ by more than rounding."""
    difference = distance(found, expected)
    need(difference <= tolerance, f"{complaint}, by {difference:.1e} of the largest value.")


def without_dropout(net: nn.Module) -> list[str]:
    """Take dropout and batch norm out of a model, and return which of them it had."""
    found = set()
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            found.add("batch norm")
            module.eval()
        elif isinstance(module, nn.modules.dropout._DropoutNd):
            found.update(["dropout"] if module.p else [])
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):  # attention's, in torch's modules and in ours
            found.update(["dropout"] if module.dropout else [])
            module.dropout = 0.0  # type: ignore[assignment]
    return sorted(found)
