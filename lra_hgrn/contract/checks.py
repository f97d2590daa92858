"""The checks, each a function that returns a sentence or raises `Broken` or `NotChecked` with one."""

import io
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lra_hgrn.config import ModelConfig
from lra_hgrn.contract.cost import long_input, memory_growth
from lra_hgrn.contract.numerics import autocast, backends, compiled
from lra_hgrn.contract.subject import LENGTH, MixerSubject, Subject, subject_of
from lra_hgrn.contract.tasks import every_task
from lra_hgrn.contract.tools import need_close, run, train_step, without_dropout
from lra_hgrn.errors import UserError, nearest
from lra_tasks.findings import Finding, NotChecked, attempt, need


def shape(subject: Subject) -> str:
    """One value a position and channel, or logits, in float32, for length 1 and others."""
    for batch, length in ((1, 1), (2, LENGTH), (3, LENGTH if subject.square else LENGTH // 2)):
        x = subject.inputs(batch, length)
        net = subject.build(length).eval()
        y = net(x, None if subject.square else torch.full((batch,), length, device=x.device))
        due = x.shape if isinstance(subject, MixerSubject) else (batch, subject.classes)
        need(isinstance(y, Tensor), f"The output is a {type(y).__name__} and no tensor.")
        need(y.shape == due, f"The output of an input {tuple(x.shape)} is {tuple(y.shape)} and not {tuple(due)}.")
        need(y.dtype == torch.float32, f"The output of float32 is {y.dtype}.")
        need(y.isfinite().all(), f"The output of an input {tuple(x.shape)} is not finite.")
    return f"right for {batch} samples of {LENGTH} steps and for a single step"


def gradients(subject: Subject) -> str:
    """Every parameter is used."""
    net = subject.build()
    _, gradient = train_step(subject, net)
    missing = [name for name, parameter in net.named_parameters() if name not in gradient and parameter.requires_grad]
    need(not missing, f"No gradient reaches {', '.join(missing)}.")
    dead = [name for name, value in gradient.items() if not value.abs().max() > 0]
    need(not dead, f"The gradient of {', '.join(dead)} is 0 or not a number everywhere.")
    return f"reach all {len(gradient)} parameters ({sum(value.numel() for value in gradient.values()):,} numbers)"


def padding(subject: Subject) -> str:
    """Neither the values nor the amount of padding change a result."""
    if subject.square:
        raise NotChecked("images of one size have no padding")
    net, x = subject.build(2 * LENGTH).eval(), subject.inputs(3)
    lengths = torch.tensor([LENGTH, LENGTH // 2, 1], device=x.device)
    expected = subject.outputs(net(x, lengths), lengths)
    for amount in (LENGTH, LENGTH + 50):
        tokens = not x.is_floating_point()
        other = torch.zeros_like(subject.inputs(3, amount)) if tokens else 7 * subject.inputs(3, amount, seed=1)
        for row, length in enumerate(lengths.tolist()):
            other[row, :length] = x[row, :length]
        found = subject.outputs(net(other, lengths), lengths)
        what = "values at" if amount == LENGTH else "amount of"
        need_close(found, expected, f"The {what} padding changes results at real positions")
    return "changes no result"


def batch_mates(subject: Subject) -> str:
    """A sample alone, in evaluation, is what it is in a batch."""
    net, x = subject.build().eval(), subject.inputs(3)
    lengths = None if subject.square else torch.tensor([LENGTH, LENGTH // 2, 5], device=x.device)
    whole = torch.full((3,), LENGTH, device=x.device)
    together = net(x, lengths)
    for row in (slice(0, 1), slice(1, 2), slice(2, 3)):
        length = (whole if lengths is None else lengths)[row]
        alone = net(x[row], None if lengths is None else length)
        found = subject.outputs(together[row], length)
        need_close(found, subject.outputs(alone, length), "A sample alone has another result than in a batch")
    return "samples of a batch do not see one another"


def causality(subject: Subject) -> str:
    """Where it is claimed, no position depends on a later one."""
    if not subject.causal:
        raise NotChecked("not claimed (attribute `causal`)")
    net, x = subject.build().eval(), subject.inputs(2)
    expected = net(x, None)
    for start in (1, LENGTH // 2, LENGTH - 1):
        other = x.clone()
        other[:, start:] = 7 * subject.inputs(2, LENGTH, seed=1)[:, start:]
        found = net(other, None)
        need_close(found[:, :start], expected[:, :start], f"Positions before {start} change with what comes after")
        need(not torch.equal(found[:, start:], expected[:, start:]), "The output does not depend on the input.")
    return "no leak from the future"


def state_dict(subject: Subject) -> str:
    """Weights saved and loaded into a model with other ones give the same results."""
    net, other, x = subject.build().eval(), subject.build(seed=1).eval(), subject.inputs(2)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    need(torch.equal(run(subject, net, x), run(subject, other, x)), "Weights saved and loaded give other results.")
    return "saved and loaded, the weights give the same results"


def modes(subject: Subject) -> str:
    """Training and evaluation differ by dropout and batch norm only."""
    net, x = subject.build(), subject.inputs(2)
    expected = run(subject, net.eval(), x)
    reasons = without_dropout(net.train())
    need_close(run(subject, net, x), expected, "Training and evaluation differ, and neither by dropout nor batch norm")
    return f"training differs from evaluation by {' and '.join(reasons)} only" if reasons else "no difference"


def determinism(subject: Subject) -> str:
    """One seed, one result: weights, outputs, gradients."""
    nets = [subject.build(seed=3) for _ in range(2)]
    states = [net.state_dict() for net in nets]
    same = all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    need(same, "Two models built with one seed have different weights.")
    steps = []
    for net in nets:
        torch.manual_seed(4)
        steps.append(train_step(subject, net))
    need(torch.equal(steps[0][0], steps[1][0]), "Two models of one seed have different outputs.")
    differing = [name for name, value in steps[0][1].items() if not torch.equal(value, steps[1][1][name])]
    need(not differing, f"Two models of one seed have different gradients of {', '.join(differing)}.")
    return "one seed gives one model and one result, bit for bit"


CHECKS: dict[str, Callable[[Subject], str]] = {
    "shape": shape,
    "gradients": gradients,
    "padding": padding,
    "batch-mates": batch_mates,
    "causality": causality,
    "state-dict": state_dict,
    "train-eval": modes,
    "determinism": determinism,
    "autocast": autocast,
    "compile": compiled,
    "backends": backends,
    "memory": memory_growth,
    "long-input": long_input,
    "tasks": every_task,
}


def check_model(
    config: ModelConfig,
    *,
    device: torch.device | str = "cpu",
    without: Sequence[str] = (),
    report: Callable[[Finding], None] = lambda finding: None,
) -> list[Finding]:
    """Hold a token mixer or a whole classifier to the contract.

    Args:
        config: names it (``target``, ``kwargs``) and its width; what surrounds a mixer matters to "tasks" only.
        device: where it is checked.
        without: names of checks to leave out.
        report: called with each finding as it is made.

    Returns:
        The findings, in the order of `CHECKS`.

    Raises:
        UserError: there is no such model or check.
    """
    for name in without:
        if name not in CHECKS:
            raise UserError(f"Unknown check {name!r}.{nearest(name, CHECKS)} Known: {', '.join(CHECKS)}.")
    state = torch.get_rng_state()
    subject = subject_of(config, torch.device(device))
    found = []
    exempt = subject.exempt()
    for name, check in CHECKS.items():
        if name in without:
            finding = Finding(name, None, "left out")
        elif name in exempt:
            finding = Finding(name, None, exempt[name])
        else:
            finding = attempt(name, lambda check=check: check(subject), UserError)  # type: ignore[misc]
        found.append(finding)
        report(finding)
    torch.set_rng_state(state)
    return found
