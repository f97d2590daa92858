"""One layer of the encoder."""

import inspect

from torch import Tensor, nn

from lra_hgrn.errors import UserError
from lra_hgrn.models.channel import GLU
from lra_hgrn.models.norm import NORMS


class Block(nn.Module):
    """Pre-norm residual token mixer, then pre-norm residual channel mixer.

    Args:
        mixer: token mixer, ours or a user's (see `lra_hgrn.models.registry`).
        d_model: width d of the residual stream.
        hidden: hidden width of the channel mixer.
        norm: "layer", "batch" or "rms".
        dropout: probability, after each mixer.
    """

    def __init__(self, mixer: nn.Module, d_model: int, hidden: int, norm: str, dropout: float) -> None:
        super().__init__()
        self.token_norm = NORMS[norm](d_model)
        self.token_mixer = mixer
        self.channel_norm = NORMS[norm](d_model)
        self.channel_mixer = GLU(d_model, hidden)
        self.dropout = nn.Dropout(dropout)
        self.takes_mask = "mask" in inspect.signature(mixer.forward).parameters
        self.takes_bound = bool(getattr(mixer, "uses_lower_bound", False))
        if getattr(mixer, "batch_first", True) is False:
            raise UserError(f"{type(mixer).__name__} must mix along time, not along the batch: set batch_first=true.")

    def forward(self, x: Tensor, mask: Tensor | None, lower_bound: Tensor | None) -> Tensor:
        """Map (B, L, d) to (B, L, d); mask (B, L) bool or None, lower_bound (d,) or None."""
        x = x + self.dropout(self._mix_tokens(self.token_norm(x, mask), mask, lower_bound))
        return x + self.dropout(self.channel_mixer(self.channel_norm(x, mask)))

    def _mix_tokens(self, x: Tensor, mask: Tensor | None, lower_bound: Tensor | None) -> Tensor:
        options = {}
        if self.takes_mask:
            options["mask"] = mask
        elif mask is not None:
            x = x.masked_fill(~mask.unsqueeze(-1), 0)
        if self.takes_bound:
            options["lower_bound"] = lower_bound
        y = self.token_mixer(x, **options)
        if isinstance(y, tuple):
            y = y[0]
        if not isinstance(y, Tensor) or y.shape != x.shape:
            returned = f"shape {tuple(y.shape)}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
            raise UserError(
                f"The token mixer {type(self.token_mixer).__name__} returned {returned} for an input of shape "
                f"{tuple(x.shape)}: it must return the same shape (batch, length, d_model)."
            )
        return y
