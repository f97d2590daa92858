"""How a token mixer is called: what it takes, what it may return, and padding that it does not know of."""

import inspect
from dataclasses import dataclass

from torch import Tensor, nn

from lra_hgrn.errors import UserError
from lra_hgrn.models.padding import zero_padding


@dataclass(frozen=True)
class Interface:
    """What the ``forward`` of a token mixer takes beside x."""

    mask: bool
    lower_bound: bool

    @classmethod
    def of(cls, mixer: nn.Module) -> "Interface":
        """Read it from the mixer.

        Raises:
            UserError: the mixer would mix the samples of a batch.
        """
        if getattr(mixer, "batch_first", True) is False:
            raise UserError(f"{type(mixer).__name__} must mix along time, not along the batch: set batch_first=true.")
        takes_mask = "mask" in inspect.signature(mixer.forward).parameters
        return cls(takes_mask, bool(getattr(mixer, "uses_lower_bound", False)))


def mix(mixer: nn.Module, interface: Interface, x: Tensor, mask: Tensor | None, lower_bound: Tensor | None) -> Tensor:
    """Call a token mixer on x (B, L, d); mask (B, L) bool or None, lower_bound (d,) or None; returns (B, L, d).

    A mixer without a mask reads zeros where there is padding.
    """
    options = {}
    if interface.mask:
        options["mask"] = mask
    else:
        x = zero_padding(x, mask)
    if interface.lower_bound:
        options["lower_bound"] = lower_bound
    y = mixer(x, **options)
    if isinstance(y, tuple):
        y = y[0]
    if not isinstance(y, Tensor) or y.shape != x.shape:
        returned = f"shape {tuple(y.shape)}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
        raise UserError(
            f"The token mixer {type(mixer).__name__} returned {returned} for an input of shape {tuple(x.shape)}: "
            "it must return the same shape (batch, length, d_model)."
        )
    return y
