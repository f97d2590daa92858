"""The check that a model fits every task."""

import torch
import torch.nn.functional as F

from lra_hgrn.contract.subject import Subject
from lra_hgrn.errors import UserError
from lra_hgrn.models import build_classifier
from lra_tasks import TaskSpec, get_task, task_names
from lra_tasks.findings import need


def every_task(subject: Subject) -> str:
    """The classifier takes a step on samples shaped as those of each task at scale tiny."""
    refused = {}
    names = task_names()
    for name in names:
        spec = get_task(name)(scale="tiny").spec
        try:
            _step(subject, spec)
        except UserError as error:
            refused[name] = str(error)
    reasons = " ".join(dict.fromkeys(refused.values()))
    need(len(refused) < len(names), f"It fits none of the tasks: {reasons}")
    fits = ", ".join(name for name in names if name not in refused)
    return f"fits {fits}" + (f"; not {', '.join(refused)}: {reasons}" if refused else "")


def _step(subject: Subject, spec: TaskSpec) -> None:
    torch.manual_seed(0)
    net = build_classifier(spec, subject.config).to(subject.device)
    batch, rows = 2, 2 * spec.documents
    lengths = torch.full((rows,), spec.max_length)
    if spec.variable:
        lengths[1] = 1 + spec.max_length // 2
    if spec.inputs == "tokens":
        inputs = torch.randint(1, spec.vocab_size, (rows, spec.max_length))
        inputs = inputs.masked_fill(torch.arange(spec.max_length) >= lengths[:, None], 0)
    else:
        inputs = torch.randn(rows, spec.max_length, *spec.step_shape)
    logits = net(inputs.to(subject.device), lengths.to(subject.device))
    due = (batch, spec.n_classes)
    need(logits.shape == due, f"On {spec.name} the logits have the shape {tuple(logits.shape)} and not {due}.")
    F.cross_entropy(logits, torch.zeros(batch, dtype=torch.int64, device=logits.device)).backward()
    finite = all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in net.parameters())
    need(logits.isfinite().all() and finite, f"On {spec.name} logits or gradients are not finite.")
