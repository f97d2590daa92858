"""Checks of other arithmetic: half precision, compiled, another backend of the kernels."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from hgrn_kernels import backend_for
from lra_hgrn.contract.subject import LENGTH, Subject
from lra_hgrn.contract.tools import need_close, run, train_step, without_dropout
from lra_tasks.findings import Broken, need

_VARIABLE = "HGRN_BACKEND"
_HALF = 0.1  # root mean square error of bfloat16 over that of the values


def autocast(subject: Subject) -> str:
    """Under autocast to bfloat16 results are those of float32, coarsely."""
    net, x = subject.build().eval(), subject.inputs(2)
    with torch.no_grad():
        expected = run(subject, net, x)
        with torch.autocast(subject.device.type, dtype=torch.bfloat16):
            found = run(subject, net, x).float()
    need(found.isfinite().all(), "Under autocast to bfloat16 the output is not finite.")
    error = float((found - expected).square().mean().sqrt() / expected.square().mean().sqrt())
    need(error <= _HALF, f"Under autocast to bfloat16 the output is off by {100 * error:.0f} %.")
    with torch.autocast(subject.device.type, dtype=torch.bfloat16):
        _, gradient = train_step(subject, net)
    broken = [name for name, value in gradient.items() if not value.isfinite().all()]
    need(not broken, f"Under autocast to bfloat16 the gradient of {', '.join(broken)} is not finite.")
    return f"bfloat16 differs from float32 by {100 * error:.1f} %"


def compiled(subject: Subject) -> str:
    """torch.compile traces it without a graph break, and changes nothing."""
    torch.compiler.reset()
    try:
        net, same = subject.build(), subject.build()
        for each in (net, same):
            without_dropout(each)  # the compiler draws other random numbers
        same.compile(fullgraph=True, backend="aot_eager")
        for length in (LENGTH,) if subject.square else (LENGTH, LENGTH // 2):
            expected, gradient = train_step(subject, net, length)
            found, other = train_step(subject, same, length)
            need_close(found, expected, "Compiled it has other results")
            for name, value in gradient.items():
                need_close(other[name], value, f"Compiled it has another gradient of {name}", 1e-3)
    except torch._dynamo.exc.TorchDynamoException as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise Broken(f"torch.compile cannot trace it in one graph: {reason.strip()}") from error
    finally:
        torch.compiler.reset()
    return "one graph, and the same results and gradients"


def backends(subject: Subject) -> str:
    """The kernels' backend of this device agrees with the reference."""
    net = subject.build()
    without_dropout(net)
    expected, gradient = train_step(subject, net)
    with _backend("reference"):
        found, other = train_step(subject, net)
    need_close(found, expected, "With the reference backend it has other results")
    for name, value in gradient.items():
        need_close(other[name], value, f"With the reference backend it has another gradient of {name}", 1e-3)
    return f"results and gradients with the backend {backend_for(subject.device)} are those of the reference"


@contextmanager
def _backend(name: str) -> Iterator[None]:
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before
