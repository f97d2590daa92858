"""HGRU, the token mixer of HGRN: Qin, Yang and Zhong, "Hierarchically Gated Recurrent Neural Network for Sequence
Modeling", NeurIPS 2023, arXiv 2311.04823.
"""

from torch import Tensor

from hgrn_kernels import hgru
from lra_hgrn.errors import UserError
from lra_hgrn.models.hgrn_gates import Candidate, GatedUnit, Output
from lra_hgrn.models.registry import register_mixer


@register_mixer("hgru", family="HGRN", paper="Qin, Yang and Zhong, NeurIPS 2023, arXiv 2311.04823")
class HGRU(GatedUnit):
    """Gated linear recurrence h_t = λ_t e^{iθ} h_{t−1} + (1 − λ_t) c_t, with λ = γ + (1 − γ) sigmoid(f).

    The candidate c is complex (real and imaginary part each SiLU of a linear map), the forget gate f real; γ is the
    lower bound of the layer. The states of both directions are added, normalised, multiplied by the output gate
    SiLU(x W_g + b) and projected to d channels.

    Every map starts as PyTorch's ``nn.Linear`` does, which is what the authors' modules do; θ_j = 10000^(−2j/d).

    Args:
        d_model: width d.
        complex: complex candidate and state; false: real ones, without θ.
        causal: scan from left to right only; false: both ways.
        share_theta: one θ for both directions (the authors' ``param_share``).
        rotation: turn the complex state by θ at each step (false: the ablation with θ = 0).
        candidate: activation of the candidate: "silu", "tanh" (as in an LSTM) or "identity".
        lower_bound: use the lower bound that the encoder gives this layer.
        output: "released": LayerNorm(h) ⊙ g, as the authors' code; "paper": LayerNorm(g ⊙ h), as their equation.
        output_gate: multiply by the output gate (false: the ablation without it).
        input_forget: forget gates depend on the input (false: the ablation with one learnt gate per channel).
    """

    def __init__(
        self,
        d_model: int,
        complex: bool = True,
        causal: bool = False,
        share_theta: bool = False,
        rotation: bool = True,
        candidate: Candidate = "silu",
        lower_bound: bool = True,
        output: Output = "released",
        output_gate: bool = True,
        input_forget: bool = True,
    ) -> None:
        thetas = (1 if causal or share_theta else 2) if complex and rotation else 0
        super().__init__(d_model, thetas, complex, candidate, lower_bound, output, output_gate, input_forget)
        self.causal = causal

    def forward(self, x: Tensor, mask: Tensor | None = None, lower_bound: Tensor | None = None) -> Tensor:
        """Mix positions.

        Args:
            x: (B, L, d).
            mask: (B, L) bool, True on real positions, which come first; None: nothing is padded.
            lower_bound: γ of this layer, (d,), in [0, 1); None: no bound.

        Returns:
            (B, L, d).
        """
        candidate, output_gate, forget = self.project(x)
        # Under autocast these are in half precision, and no copies are made: the kernels compute in float32.
        h = hgru(
            candidate,
            forget,
            lower_bound,
            self.thetas,
            bidirectional=not self.causal,
            activation=self.activation,
            lengths=None if mask is None else mask.sum(dim=1),
        )
        return self.read_out(h, output_gate)

    def step(self, x: Tensor, state: Tensor | None = None, lower_bound: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Take one step of the causal recurrence, in constant memory; the outputs are those of `forward`.

        Args:
            x: (B, d), the next position.
            state: h so far, as the last call returned it; None: at the first position.
            lower_bound: γ of this layer, (d,); None: no bound.

        Returns:
            Output (B, d), and the state: (B, 2d), or (B, d) of a real unit, in float32 or float64.
        """
        if not self.causal:
            raise UserError("An hgru that scans both ways has no steps: set model.kwargs.causal=true.")
        candidate, output_gate, forget = self.project(x.unsqueeze(1))
        h, state = hgru(
            candidate,
            forget,
            lower_bound,
            self.thetas,
            bidirectional=False,
            activation=self.activation,
            initial_state=state,
            return_final_state=True,
        )
        return self.read_out(h, output_gate).squeeze(1), state
