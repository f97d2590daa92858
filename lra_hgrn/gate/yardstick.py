"""A piece of work whose time says how fast this machine is, for a `Runner`; each order is a number of pieces.

It takes what a training step takes, matrix products, sweeps over memory and many small operations, and uses nothing of
this project. It never changes: stored times are ratios to it. Whoever must change it raises `VERSION`.
"""

import json
import os
import statistics
import sys
import time

import torch
from torch import nn

VERSION = 1


def make() -> tuple[nn.Module, torch.optim.Optimizer, torch.Tensor]:
    """Return a small Transformer, its optimiser, and its input."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(64, 2, 128, dropout=0.0, batch_first=True, norm_first=True)
    net = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return net, torch.optim.SGD(net.parameters(), lr=0.0), torch.randn(8, 128, 64)


def main() -> None:
    told, answer = map(int, os.environ["LRA_TURNS"].split(","))
    if sys.argv[1:] != ["0"]:
        torch.set_num_threads(int(sys.argv[1]))
    net, optimizer, x = make()
    with os.fdopen(told, "rb") as orders, os.fdopen(answer, "wb", buffering=0) as out:
        for order in orders:
            times = []
            for _ in range(int(order)):
                began = time.perf_counter()
                optimizer.zero_grad()
                net(x).square().mean().backward()
                optimizer.step()
                times.append(time.perf_counter() - began)
            out.write(json.dumps({"steps": len(times), "seconds": statistics.median(times)}).encode() + b"\n")


if __name__ == "__main__":
    main()
