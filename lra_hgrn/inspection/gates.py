"""Forget gates of a trained model: histograms that grow batch by batch, so that no gate is kept."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lra_hgrn.errors import UserError
from lra_hgrn.inspection.record import LayerGates, Quantiles
from lra_hgrn.models.classifier import SequenceClassifier
from lra_hgrn.models.padding import padding_mask
from lra_tasks.loader import Batch

OCTAVES = 24  # float32 knows no gate between 1 − 2⁻²⁴ and 1
FINE = 512  # bins of an octave of 1 / (1 − λ): quantiles are right to 0.14 %
SHOWN = 4  # bins of an octave in the file
BINS = 100  # of λ in the file
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


class GateStatistics:
    """What is kept of one layer's gates: two histograms, and the sums of λ and ln λ of each channel."""

    def __init__(self) -> None:
        self.positions = 0
        self.gates = np.zeros(BINS, np.int64)
        self.memories = np.zeros(OCTAVES * FINE, np.int64)
        self.total = self.log_total = np.zeros(0)

    def add(self, gates: Tensor) -> None:
        """Add the gates of some positions: (P, channels), in [0, 1]."""
        gates = gates.float()
        keep = (1 - gates).clamp(min=2.0**-OCTAVES)
        logs = gates.clamp(min=torch.finfo(torch.float32).tiny).log()
        sums = [values.double().sum(dim=0).cpu().numpy() for values in (gates, logs)]
        if not self.positions:
            self.total, self.log_total = (np.zeros(gates.shape[1]) for _ in sums)
        self.positions += len(gates)
        self.total, self.log_total = self.total + sums[0], self.log_total + sums[1]
        self.gates += _counts(gates * BINS, BINS)
        self.memories += _counts(-keep.log2() * FINE, OCTAVES * FINE)

    def memory_of_channels(self) -> np.ndarray:
        """Return τ of each channel, in steps."""
        return 1 / np.maximum(-self.log_total / self.positions, 2.0**-OCTAVES)

    def summary(self, layer: int, mixer: str) -> LayerGates:
        """Return what the file says of this layer, but for its memory before training."""
        octaves = _quantiles(self.memories, 1 / FINE)
        channels = self.memory_of_channels()
        shares = self.memories.reshape(-1, FINE // SHOWN).sum(axis=1) / self.memories.sum()
        return LayerGates(
            layer=layer,
            mixer=mixer,
            channels=len(channels),
            positions=self.positions,
            mean=float(self.total.mean() / self.positions),
            gate=_named(1 - 2.0**-octaves),
            gate_memory=_named(2.0**octaves),
            channel_memory=_named(np.quantile(channels, QUANTILES)),
            memory_of_channels=_rounded(channels),
            untrained_memory=None,
            histogram=_rounded(self.gates / self.gates.sum()),
            memory_histogram=_rounded(shares),
        )


def measure(
    net: nn.Module, batches: Iterable[Batch], progress: Callable[[int], None] = lambda done: None
) -> list[LayerGates]:
    """Run a classifier on batches and return the statistics of every layer with forget gates; none: an empty list.

    Args:
        net: in evaluation mode.
        batches: on the device of ``net``.
        progress: called with the number of samples done.

    Raises:
        UserError: a token mixer's ``forget_gates`` returned something else than gates.
    """
    mixers = gated_mixers(net)
    if not mixers:
        return []
    kept = {layer: GateStatistics() for layer in mixers}
    done = 0
    with torch.no_grad(), ExitStack() as hooks:
        now: dict[str, Batch] = {}
        for layer, mixer in mixers.items():
            hook = _hook(kept[layer], now)
            hooks.callback(mixer.register_forward_pre_hook(hook, with_kwargs=True).remove)
        for batch in batches:
            now["batch"] = batch
            net(batch.inputs, batch.lengths)
            done += len(batch.labels)
            progress(done)
    return [kept[layer].summary(layer, type(mixer).__name__) for layer, mixer in mixers.items()]


def gated_mixers(net: nn.Module) -> dict[int, nn.Module]:
    """Return the token mixers that tell their forget gates, by number of the layer from 1."""
    if not isinstance(net, SequenceClassifier):
        return {}
    mixers: dict[int, Any] = {layer: block.token_mixer for layer, block in enumerate(net.blocks, 1)}
    return {layer: mixer for layer, mixer in mixers.items() if callable(getattr(mixer, "forget_gates", None))}


def _hook(statistics: GateStatistics, now: dict[str, Batch]) -> Callable[..., None]:
    def read(mixer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x = args[0]
        ask: Any = mixer.forget_gates
        gates = ask(x, mask=kwargs.get("mask"), lower_bound=kwargs.get("lower_bound"))
        _check(gates, x, mixer)
        batch = now["batch"]
        extra = x.shape[1] - batch.inputs.shape[1]  # the position of [CLS]
        real = padding_mask(batch.lengths + extra, x.shape[1])
        for row, mask in zip(gates, real, strict=True):  # row by row: a histogram takes several times their memory
            statistics.add(row[mask])

    return read


def _check(gates: Any, x: Tensor, mixer: nn.Module) -> None:
    name = f"forget_gates of {type(mixer).__name__}"
    if not isinstance(gates, Tensor) or gates.ndim != 3 or gates.shape[:2] != x.shape[:2]:
        returned = f"shape {tuple(gates.shape)}" if isinstance(gates, Tensor) else f"a {type(gates).__name__}"
        raise UserError(f"{name} returned {returned} for an input of shape {tuple(x.shape)}, not (batch, length, d).")
    if not bool(((gates >= 0) & (gates <= 1)).all()):  # NaN is neither
        raise UserError(f"{name} returned values that are not in [0, 1]: the run has diverged, or these are no gates.")


def _counts(places: Tensor, bins: int) -> np.ndarray:
    return torch.bincount(places.long().clamp(0, bins - 1).flatten(), minlength=bins).cpu().numpy()


def _quantiles(counts: np.ndarray, width: float) -> np.ndarray:
    """Return the quantiles of a histogram with bins of ``width`` from 0 on; inside a bin all lies evenly."""
    below = np.concatenate([[0], counts.cumsum()])
    wanted = np.array(QUANTILES) * below[-1]
    place = np.searchsorted(below, wanted, side="left") - 1
    return (place + (wanted - below[place]) / counts[place]) * width


def _named(values: np.ndarray) -> Quantiles:
    return Quantiles(**dict(zip(("q10", "q25", "q50", "q75", "q90"), values.tolist(), strict=True)))


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in values.tolist()]
