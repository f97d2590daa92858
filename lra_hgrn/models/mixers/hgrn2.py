"""HGRN2: Qin, Yang, Sun, Shen, Li, Sun and Zhong, "HGRN2: Gated Linear RNNs with State Expansion", COLM 2024,
arXiv 2404.07904.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hgrn_kernels import scan
from lra_hgrn.errors import UserError
from lra_hgrn.models.hgrn_gates import forget_gates
from lra_hgrn.models.padding import zero_padding
from lra_hgrn.models.precision import full, without_autocast
from lra_hgrn.models.registry import register_mixer

CHUNK = 32  # steps between two states that are computed, a power of two


@register_mixer("hgrn2", family="HGRN", paper="Qin et al., COLM 2024, arXiv 2404.07904")
class HGRN2(nn.Module):
    """Gated linear recurrence with an n × n state a head: H_t = diag(λ_t) H_{t−1} + (1 − λ_t) ⊗ c_t, o_t = H_tᵀ q_t.

    λ = γ + (1 − γ) sigmoid(f) with the lower bound γ of the layer, as in HGRN. The outer product of input gate and
    candidate c expands the state n-fold without parameters; the query q, read as an output gate, contracts it. The
    outputs of both directions are added, normalised over all heads (LayerNorm) and projected. q, f and c are linear
    maps with biases.

    Args:
        d_model: width d.
        heads: number of heads H; each has width, and so expansion, n = d / H (the paper's language models: n = 128).
        causal: scan from left to right only; false: both ways, with the same queries, gates and candidates.
        query: activation of q: "silu", as the authors' released language model, or "sigmoid", as their encoder of
            sequences in both directions.
        candidate: activation of c: "identity", as the former, or "silu", as the latter.
        lower_bound: use the lower bound that the encoder gives this layer.
    """

    def __init__(
        self,
        d_model: int,
        heads: int = 4,
        causal: bool = False,
        query: Literal["silu", "sigmoid"] = "silu",
        candidate: Literal["identity", "silu"] = "identity",
        lower_bound: bool = True,
    ) -> None:
        super().__init__()
        if heads < 1 or d_model % heads:
            raise UserError(f"d_model={d_model} must be a multiple of model.kwargs.heads={heads}.")
        self.heads = heads
        self.causal = causal
        self.query = query
        self.candidate = candidate
        self.uses_lower_bound = lower_bound
        self.in_proj = nn.Linear(d_model, 3 * d_model)  # query, forget gate, candidate
        self.norm = nn.LayerNorm(d_model)
        self.out_proj = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None, lower_bound: Tensor | None = None) -> Tensor:
        """Mix positions.

        Args:
            x: (B, L, d).
            mask: (B, L) bool, True on real positions, which come first; None: nothing is padded.
            lower_bound: γ of this layer, (d,), in [0, 1); None: no bound.

        Returns:
            (B, L, d).
        """
        q, log_gate, k, c = self._project(x, lower_bound)
        c = zero_padding(c, mask)  # a candidate of 0 adds nothing to the state
        steps = (q, log_gate, k, c)
        if self.causal:
            o = outer_product_scan(*steps)
        else:
            onwards, back = outer_product_scan(*(torch.cat([t, t.flip(2)]) for t in steps)).chunk(2)
            o = onwards + back.flip(2)
        return self.out_proj(self.norm(o.transpose(1, 2).flatten(2)))

    def step(self, x: Tensor, state: Tensor | None = None, lower_bound: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Take one step of the causal recurrence, in constant memory; the outputs are those of `forward`.

        Args:
            x: (B, d), the next position.
            state: H so far, as the last call returned it; None: at the first position.
            lower_bound: γ of this layer, (d,); None: no bound.

        Returns:
            Output (B, d), and the state: (B, heads, n, n), in float32 or float64.
        """
        if not self.causal:
            raise UserError("An hgrn2 that scans both ways has no steps: set model.kwargs.causal=true.")
        q, log_gate, k, c = self._project(x.unsqueeze(1), lower_bound)
        with without_autocast(x):
            new = k.transpose(-1, -2) * c
            state = new if state is None else log_gate.exp().transpose(-1, -2) * state + new
            o = q @ state
        return self.out_proj(self.norm(o.flatten(1))), state

    def forget_gates(self, x: Tensor, mask: Tensor | None = None, lower_bound: Tensor | None = None) -> Tensor:
        """Return λ, (B, L, d) in [0, 1]: how much of the state each step keeps; arguments as those of `forward`."""
        forget = slice(self.norm.weight.numel(), 2 * self.norm.weight.numel())
        return forget_gates(F.linear(x, self.in_proj.weight[forget], self.in_proj.bias[forget]), lower_bound)

    def _project(self, x: Tensor, lower_bound: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return q, log λ, 1 − λ and c, each (B, H, L, n) in float32 or float64."""
        z = self.in_proj(x)
        q, forget, c = full(z).chunk(3, dim=-1)
        k = (-forget).sigmoid()  # 1 − λ without cancellation
        if lower_bound is not None:
            k = (1 - lower_bound) * k
        log_gate = _log_gate(forget_gates(forget, lower_bound), k)
        q = F.silu(q) if self.query == "silu" else q.sigmoid()
        c = F.silu(c) if self.candidate == "silu" else c
        split = [t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, log_gate, k, c)]
        return split[0], split[1], split[2], split[3]


def _log_gate(gate: Tensor, one_minus: Tensor) -> Tensor:
    """Return log λ from λ and 1 − λ, of which the smaller one has all its digits; finite also where λ rounds to 0."""
    small = gate.clamp(min=torch.finfo(gate.dtype).tiny).log()
    return torch.where(one_minus < 0.5, torch.log1p(-one_minus.clamp(max=0.5)), small)


def outer_product_scan(q: Tensor, log_gate: Tensor, k: Tensor, c: Tensor) -> Tensor:
    """Return o_t = H_tᵀ q_t of H_t = diag(λ_t) H_{t−1} + k_t ⊗ c_t, from left to right and from H = 0.

    Inside a chunk no state is computed: o_t = Σ_{s≤t} (q_t · (k_s ⊙ Π_{s<u≤t} λ_u)) c_s, where for s in the left and t
    in the right half of a block the product is split at the middle of the block. So each of its two factors goes into
    a matrix product of its own side, as in linear attention, and each is the exponential of a sum of log λ ≤ 0: nothing
    overflows and no difference of sums is taken. Blocks double from 2 steps to a chunk; then the states at the ends of
    chunks are a scan of their own. Compute and memory are linear in L.

    Args:
        q, log_gate, k, c: (B, H, L, n) in float32 or float64, log_gate at most 0.

    Returns:
        o, (B, H, L, n).
    """
    with without_autocast(q):
        batch, heads, length, _ = q.shape
        chunks = (length + CHUNK - 1) // CHUNK
        padding = (0, 0, 0, chunks * CHUNK - length)
        q, log_gate, k, c = (F.pad(t, padding).unflatten(2, (chunks, CHUNK)).flatten(0, 2) for t in (q, log_gate, k, c))
        step = torch.arange(CHUNK, device=q.device)
        weights = torch.diag_embed((q * k).sum(dim=-1))
        half = 1
        while half < CHUNK:
            up_to, after = _decays(log_gate, step, half)
            block, right = step // (2 * half), step % (2 * half) >= half
            across = (block[:, None] == block) & right[:, None] & ~right
            weights = weights + ((q * up_to) @ (k * after).mT).masked_fill(~across, 0)
            half *= 2
        o = weights @ c + _from_earlier_chunks(q, k, c, *_decays(log_gate, step, CHUNK), batch * heads)
        return o.unflatten(0, (batch, heads, chunks)).flatten(2, 3)[:, :, :length]


def _decays(log_gate: Tensor, step: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return Π λ over each step's part of ``size`` steps, up to it and with it, and after it: (M, CHUNK, n) each.

    The sums are products with 0 and 1, for `cumsum` has no deterministic form on a GPU.
    """
    same = step[:, None] // size == step // size
    up_to = same & (step <= step[:, None])
    after = same & (step > step[:, None])
    return (up_to.to(log_gate.dtype) @ log_gate).exp(), (after.to(log_gate.dtype) @ log_gate).exp()


def _from_earlier_chunks(q: Tensor, k: Tensor, c: Tensor, up_to: Tensor, after: Tensor, sequences: int) -> Tensor:
    """Return what the states before each chunk add to the outputs; all are (sequences · chunks, CHUNK, n)."""
    new = ((k * after).mT @ c).unflatten(0, (sequences, -1))  # (sequences, chunks, n, n)
    decay = up_to[:, -1].unflatten(0, (sequences, -1)).unsqueeze(-1).expand_as(new)
    states = scan(new.flatten(2), decay.flatten(2))
    earlier = F.pad(states[:, :-1], (0, 0, 1, 0)).view_as(new).flatten(0, 1)
    return (q * up_to) @ earlier
