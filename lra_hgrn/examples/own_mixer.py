"""Compare a token mixer of one's own with HGRN and a Transformer, from Python.

Run it with ``python -m lra_hgrn.examples.own_mixer``: a minute or two on two CPU cores, at scale tiny of ListOps. In a
notebook the same lines work, with the class defined in a cell.
"""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

import lra_hgrn

MODELS = ("hgrn", "transformer")


class RunningMean(nn.Module):
    """Each position gets the mean of all up to it, gated: the least that can pass for a memory."""

    causal = True  # `lra check-model` holds it to that

    def __init__(self, d_model: int, bias: bool = True) -> None:
        super().__init__()
        self.in_proj = nn.Linear(d_model, 2 * d_model, bias=bias)
        self.out_proj = nn.Linear(d_model, d_model, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, L, d) to (B, L, d); padding stands at the end, so a causal mixer needs no mask."""
        value, gate = self.in_proj(x).chunk(2, dim=-1)
        steps = torch.arange(1, x.shape[1] + 1, device=x.device, dtype=x.dtype)
        mean = value.cumsum(dim=1) / steps[:, None]
        return self.out_proj(mean * gate.sigmoid())


def compare(runs: Path, task: str = "listops", **overrides: Any) -> pd.DataFrame:
    """Train three models by one recipe and return their results.

    Args:
        runs: folder of the runs; those that are there already are not trained again.
        task: a task of LRA.
        overrides: options of all of them, as `lra_hgrn.train` takes them.
    """
    recipe = {
        "task__scale": "tiny",
        "optim__lr": 3e-3,
        "optim__warmup_steps": 50,
        "train__epochs": 2,
        "train__bucket_batches": 20,
    } | overrides
    for model in (RunningMean, *MODELS):
        name = model if isinstance(model, str) else model.__name__
        record = lra_hgrn.train(model, task, output=runs / f"{task}-{name}", resume=True, **recipe)
        print(f"{record.model}: {record.status}, {record.parameters:,} parameters")
    return lra_hgrn.load_results(runs)


if __name__ == "__main__":
    results = compare(Path("results") / "own_mixer", model__layers=2, model__d_model=32)
    print(results[["model", "accuracy", "low", "high", "chance", "parameters", "samples_per_second"]].to_string())
