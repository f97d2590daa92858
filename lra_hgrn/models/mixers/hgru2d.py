"""The HGRU for images: the variant of HGRN (Qin, Yang and Zhong, NeurIPS 2023, arXiv 2311.04823) with which its authors
ran Image, Pathfinder and Path-X, after what they released.
"""

from torch import Tensor

from hgrn_kernels import hgru2d
from lra_hgrn.errors import UserError
from lra_hgrn.models.hgrn_gates import Candidate, GatedUnit, Output
from lra_hgrn.models.registry import register_mixer


@register_mixer("hgru2d", family="HGRN", paper="Qin, Yang and Zhong, NeurIPS 2023, arXiv 2311.04823")
class HGRU2D(GatedUnit):
    """The recurrence of `lra_hgrn.models.mixers.hgru.HGRU` along the rows and along the columns of an image.

    One candidate and one forget gate for each pixel serve four scans, of rows and of columns and both ways each, whose
    states are added. The longest recurrence is one side of the image. This uses its shape, which a model of the strict
    track does not see. Images are never padded.

    Args:
        d_model: width d.
        side: side of the square image that the positions are, row by row.
        complex: complex candidate and state; false: real ones, without θ.
        share_theta: one θ for all scans; false: one for those onwards and one for those back, rows and columns alike.
        rotation: turn the complex state by θ at each step.
        candidate: activation of the candidate: "silu", "tanh" or "identity".
        lower_bound: use the lower bound that the encoder gives this layer.
        output: "released": LayerNorm(h) ⊙ g; "paper": LayerNorm(g ⊙ h).
        output_gate: multiply by the output gate.
        input_forget: forget gates depend on the input.
    """

    causal = False
    departures = ("Scans rows and columns of the image (2-D).",)

    def __init__(
        self,
        d_model: int,
        side: int,
        complex: bool = True,
        share_theta: bool = False,
        rotation: bool = True,
        candidate: Candidate = "silu",
        lower_bound: bool = True,
        output: Output = "released",
        output_gate: bool = True,
        input_forget: bool = True,
    ) -> None:
        if side < 1:
            raise UserError("hgru2d scans images, and this task has none; use hgru, or a task of images.")
        thetas = (1 if share_theta else 2) if complex and rotation else 0
        super().__init__(d_model, thetas, complex, candidate, lower_bound, output, output_gate, input_forget)
        self.side = side

    def forward(self, x: Tensor, lower_bound: Tensor | None = None) -> Tensor:
        """Mix positions: x (B, side², d); lower_bound γ of this layer, (d,), or None; returns (B, side², d)."""
        side, length = self.side, x.shape[1]
        if length != side**2:
            raise UserError(f"hgru2d with model.kwargs.side={side} scans {side**2} positions, not {length}.")
        candidate, output_gate, forget = self.project(x)
        pixels = (side, side)
        h = hgru2d(
            candidate.unflatten(1, pixels),
            forget.unflatten(1, pixels),
            lower_bound,
            self.thetas,
            activation=self.activation,
        )
        return self.read_out(h.flatten(1, 2), output_gate)
