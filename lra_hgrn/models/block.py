"""One layer of the encoder."""

from torch import Tensor, nn

from lra_hgrn.models.channel import CHANNEL_MIXERS
from lra_hgrn.models.mixing import Interface, mix
from lra_hgrn.models.norm import NORMS


class Block(nn.Module):
    """Pre-norm residual token mixer, then pre-norm residual channel mixer, or none.

    Args:
        mixer: token mixer, ours or a user's (see `lra_hgrn.models.registry`).
        d_model: width d of the residual stream.
        channel_mixer: "glu", "mlp", or "none": channels mix in the token mixer only.
        hidden: hidden width of the channel mixer.
        norm: "layer", "batch" or "rms".
        dropout: probability, after each mixer.
    """

    def __init__(
        self, mixer: nn.Module, d_model: int, channel_mixer: str, hidden: int, norm: str, dropout: float
    ) -> None:
        super().__init__()
        self.token_norm = NORMS[norm](d_model)
        self.token_mixer = mixer
        mixes = channel_mixer != "none"
        self.channel_norm = NORMS[norm](d_model) if mixes else None
        self.channel_mixer = CHANNEL_MIXERS[channel_mixer](d_model, hidden) if mixes else None
        self.dropout = nn.Dropout(dropout)
        self.interface = Interface.of(mixer)

    def forward(self, x: Tensor, mask: Tensor | None, lower_bound: Tensor | None) -> Tensor:
        """Map (B, L, d) to (B, L, d); mask (B, L) bool or None, lower_bound (d,) or None."""
        mixed = mix(self.token_mixer, self.interface, self.token_norm(x, mask), mask, lower_bound)
        return self.mix_channels(x + self.dropout(mixed), mask)

    def mix_channels(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Add what the channel mixer makes of x (..., d), if there is one; mask (B, L) bool or None."""
        if self.channel_norm is None or self.channel_mixer is None:
            return x
        return x + self.dropout(self.channel_mixer(self.channel_norm(x, mask)))
