"""Which positions a prediction depends on: gradient × input, and the occlusion of windows as a check on it.

Gradient × input (Shrikumar et al., arXiv 1605.01713) is the first-order estimate of what the logit of the predicted
class loses when the embedding e_t of a position becomes zero: Σ_d e_td · ∂logit / ∂e_td. Occlusion (Zeiler and Fergus,
arXiv 1311.2901) sets whole windows to zero and measures the loss.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn

from lra_hgrn.errors import UserError
from lra_hgrn.inspection.record import Document, Sample
from lra_hgrn.models.classifier import SequenceClassifier
from lra_tasks.loader import Batch

WINDOWS = 64  # of a document at most; squares of an image are 8 × 8
POSITIONS = 32_768  # in one forward pass of occluded inputs


class NoEmbedding(Exception):
    """The model has no embedding of its inputs that could be read: why, in one sentence."""


def embedding_of(net: nn.Module) -> nn.Module:
    """Return the module whose output stands for the inputs: the encoder's embedding, or a user's first nn.Embedding.

    Raises:
        NoEmbedding: a user's classifier has none.
    """
    if isinstance(net, SequenceClassifier):
        return net.embedding
    for module in net.modules():
        if isinstance(module, nn.Embedding):
            return module
    raise NoEmbedding(f"{type(net).__name__} has no nn.Embedding, so what its decisions depend on cannot be shown.")


def attribute(net: nn.Module, batch: Batch, index: int, side: int = 0) -> Sample:
    """Attribute the predicted logit of one sample to its positions.

    Args:
        net: in evaluation mode.
        batch: the one sample, on the device of ``net``; one or two documents.
        index: its number in the split.
        side: of the image that the positions are, row by row; 0: no image.

    Raises:
        NoEmbedding: the embedding's output cannot be matched with the positions.
        UserError: the logits are not finite.
    """
    with torch.backends.cudnn.flags(enabled=False):  # cuDNN's recurrences have no gradient in evaluation mode
        logits, relevance = gradient_times_input(net, batch.inputs, batch.lengths)
    if not bool(logits.isfinite().all()):
        raise UserError("The model's logits are not finite: the run has diverged, and there is nothing to inspect.")
    documents = []
    for number, length in enumerate(batch.lengths.tolist()):
        gradient = relevance[number, :length].double().cpu().numpy()
        size, windows = windows_of(length, side)
        falls = occlusion(net, batch.inputs, batch.lengths, number, windows, logits)
        sums = np.array([gradient[window].sum() for window in windows])
        documents.append(
            Document(
                length=length,
                gradient=_rounded(gradient),
                window=size,
                occlusion=_rounded(falls),
                agreement=_agreement(sums, falls),
            )
        )
    return Sample(
        index=index,
        label=int(batch.labels[0]),
        predicted=int(logits.argmax()),
        logits=_rounded(logits.double().cpu().numpy()),
        documents=documents,
    )


def gradient_times_input(net: nn.Module, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits (C,) of one sample, and Σ_d e · ∂logit / ∂e of the predicted one, (documents, L)."""
    seen: list[Tensor] = []

    def leaf(output: Tensor) -> Tensor:
        seen.append(output.detach().requires_grad_())
        return seen[-1]

    with torch.enable_grad(), _changed(embedding_of(net), leaf):
        logits = net(inputs, lengths)[0]
        if len(seen) != 1 or not _fits(seen[0], inputs):
            raise NoEmbedding(
                f"The first nn.Embedding of {type(net).__name__} does not give one vector for each position of the "
                "inputs, so what its decisions depend on cannot be shown."
            )
        (gradient,) = torch.autograd.grad(logits.max(), seen, allow_unused=True, materialize_grads=True)
    relevance = (seen[0] * gradient).sum(dim=-1).detach()
    return logits.detach(), relevance[:, _extra(seen[0], inputs) :]


def occlusion(
    net: nn.Module, inputs: Tensor, lengths: Tensor, document: int, windows: list[np.ndarray], logits: Tensor
) -> np.ndarray:
    """Return for each window of positions of one document the fall of the predicted logit without it."""
    predicted, values = int(logits.argmax()), [logits[:0]]
    chunk = max(1, POSITIONS // (len(inputs) * inputs.shape[1]))
    for start in range(0, len(windows), chunk):
        part = windows[start : start + chunk]
        # All first documents stand before all second ones.
        kept = torch.ones(len(inputs), len(part), inputs.shape[1], dtype=torch.bool, device=inputs.device)
        for row, window in enumerate(part):
            kept[document, row, torch.from_numpy(window).to(inputs.device)] = False
        rows, rows_lengths = (tensor.repeat_interleave(len(part), dim=0) for tensor in (inputs, lengths))
        with torch.no_grad(), _changed(embedding_of(net), partial(_blank, kept=kept.flatten(0, 1))):
            values.append(net(rows, rows_lengths)[:, predicted])
    return (logits[predicted] - torch.cat(values)).double().cpu().numpy()


def windows_of(length: int, side: int) -> tuple[int, list[np.ndarray]]:
    """Return the size of a window, and the positions of each: stretches of a sequence or squares of an image."""
    if not side:
        size = max(1, -(-length // WINDOWS))
        return size, [np.arange(start, min(start + size, length)) for start in range(0, length, size)]
    size = -(-side // int(WINDOWS**0.5))
    grid = np.arange(length).reshape(side, side)
    corners = range(0, side, size)
    return size, [grid[row : row + size, column : column + size].ravel() for row in corners for column in corners]


def _blank(output: Tensor, kept: Tensor) -> Tensor:
    """Set (B, L, d) to zero where ``kept`` is not; a position of [CLS] before these L stays."""
    extra = output.shape[1] - kept.shape[1]
    return output.masked_fill(~F.pad(kept, (extra, 0), value=True).unsqueeze(-1), 0)


def _fits(output: Tensor, inputs: Tensor) -> bool:
    return output.ndim == 3 and len(output) == len(inputs) and _extra(output, inputs) in (0, 1)


def _extra(output: Tensor, inputs: Tensor) -> int:
    """Positions before those of the inputs: that of [CLS], or none."""
    return output.shape[1] - inputs.shape[1]


@contextmanager
def _changed(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Let ``change`` replace what the module returns."""

    def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        return change(output)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _agreement(one: np.ndarray, other: np.ndarray) -> float | None:
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(spearmanr(one, other).statistic)


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in values.tolist()]
