"""How the Triton kernels run, and on how many threads torch computes: said before anything else is imported."""

import os

import torch

# Without a GPU the kernels are interpreted, on CPU tensors.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Workers of pytest-xdist share the cores, so each computes on one thread; and so do the processes that tests start,
# whose results are compared with those of this one bit for bit. What is about several threads asks for them.
if "PYTEST_XDIST_WORKER" in os.environ and "OMP_NUM_THREADS" not in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Begin with the long tests, or a worker would run one of them alone at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
