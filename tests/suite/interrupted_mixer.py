"""A token mixer in whose training steps something happens, for tests of what a run does then."""

from torch import nn


class Interrupted(nn.Module):
    """Call ``at[n]`` in the n-th training step of the process, counted from 1 on or since ``step`` was set to 0."""

    at = {}  # set by tests
    step = 0

    def __init__(self, d_model):
        super().__init__()
        self.linear = nn.Linear(d_model, d_model)

    def forward(self, x):
        if self.training:
            Interrupted.step += 1
            Interrupted.at.get(Interrupted.step, lambda: None)()
        return self.linear(x).cumsum(1)
