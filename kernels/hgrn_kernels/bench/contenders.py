"""What is measured on one shape: this package's functions, and their peers on the same inputs."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from hgrn_kernels import gated_norm, hgru, hgru2d, scan
from hgrn_kernels._backends import BACKENDS, available_backends, backend_for
from hgrn_kernels.bench import peers


class Contender(NamedTuple):
    """A function that is ready to be called."""

    name: str
    run: Callable[[], Tensor]
    leaves: list[Tensor]  # whose gradients the backward pass computes; the first has the shape of the output
    # Elements for each position and channel with each input read once and each output written once: forward, backward.
    floor: tuple[int, int]
    peer: bool = False


def contenders(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> list[Contender]:
    """Return what can run there, complex where nothing else is said; parameters are float32."""
    *positions, channels = shape
    generator = torch.Generator(device).manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, device=device)

    candidate, forget, output_gate = (
        draw(*positions, planes * channels).to(dtype).requires_grad_() for planes in (2, 1, 2)
    )
    bound, theta = draw(channels).sigmoid().requires_grad_(), draw(2 * len(positions) - 2, channels).requires_grad_()
    mix = [candidate, forget, bound, theta]
    norm = [output_gate, draw(2 * channels).requires_grad_(), draw(2 * channels).requires_grad_()]
    unfused = Contender(
        "layer of torch operations", lambda: peers.unfused_layer(*mix, *norm), mix + norm, (11, 18), peer=True
    )
    if len(positions) == 3:
        return [
            Contender("hgru2d", lambda: hgru2d(*mix), mix, (5, 8)),
            Contender("hgru2d + gated_norm", lambda: gated_norm(hgru2d(*mix), *norm), mix + norm, (11, 18)),
            unfused,
        ]
    angle = theta[0].detach().requires_grad_()
    causal = [candidate, forget, bound, angle]
    own, others = _scans(candidate, forget, angle)
    return [
        *own,
        Contender("hgru causal", lambda: hgru(*causal, bidirectional=False), causal, (5, 8)),
        Contender("hgru bidirectional", lambda: hgru(*mix, bidirectional=True), mix, (5, 8)),
        Contender("gated_norm", lambda: gated_norm(candidate, *norm), [candidate, *norm], (6, 10)),
        Contender("hgru + gated_norm", lambda: gated_norm(hgru(*mix, bidirectional=True), *norm), mix + norm, (11, 18)),
        unfused,
        *others,
        # q, k and v read, its output written
        Contender(*peers.attention(candidate[..., :channels]), floor=(4, 8), peer=True),
    ]


def scans(shape: tuple[int, int, int], device: torch.device, dtype: torch.dtype) -> list[Contender]:
    """Return those of `contenders` that do nothing but scan: this package's, complex and real, and real peers."""
    batch, length, channels = shape
    generator = torch.Generator(device).manual_seed(0)
    candidate, forget = (
        torch.randn(batch, length, planes * channels, generator=generator, device=device).to(dtype).requires_grad_()
        for planes in (2, 1)
    )
    angle = torch.randn(channels, generator=generator, device=device).requires_grad_()
    own, others = _scans(candidate, forget, angle)
    return own + others


def _scans(candidate: Tensor, forget: Tensor, angle: Tensor) -> tuple[list[Contender], list[Contender]]:
    """Return this package's scans, complex and real, and their peers."""
    gate = forget.detach().sigmoid().requires_grad_()
    x = candidate.detach()[..., : gate.shape[-1]].contiguous().requires_grad_()
    real = {"scan, real": "auto", **{f"scan, real, {name}": name for name in _other_backends(x)}}
    own = [
        Contender("scan", lambda: scan(candidate, gate, theta=angle), [candidate, gate, angle], (5, 8)),
        *(
            Contender(name, functools.partial(scan, x, gate, backend=backend), [x, gate], (3, 5))
            for name, backend in real.items()
        ),
    ]
    found = [*peers.torch_scans(x, gate), *peers.real_scans(x, gate)]
    return own, [Contender(*entry, floor=(3, 5), peer=True) for entry in found]


def _other_backends(x: Tensor) -> list[str]:
    """Return the backends that can scan x beside the one that does it anyway; the plain loop is among the peers.

    Interpreted kernels are left out: their times say nothing.
    """
    return [
        name
        for name, state in available_backends().items()
        if state == "ready"
        and name not in ("reference", backend_for(x))
        and BACKENDS[name].device in (None, x.device.type)
        and not (name == "triton" and x.device.type == "cpu")
    ]
