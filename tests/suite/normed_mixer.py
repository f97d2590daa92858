"""Mixers of a user's own: one with torch's batch norm, and one that fails in the second of two processes."""

import os

from torch import nn


class Normed(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.mix = nn.Conv1d(d_model, d_model, 3, padding=1)
        self.norm = nn.BatchNorm1d(d_model)

    def forward(self, x, mask=None):
        return self.norm(self.mix(x.mT)).mT


class FailsElsewhere(Normed):
    def forward(self, x, mask=None):
        if os.environ.get("RANK") == "1":
            raise RuntimeError("out of luck")
        return super().forward(x, mask)
