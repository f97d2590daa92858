"""What a process of ours does to itself."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from lra_hgrn.training import environment
if sys.argv[1] == "keep":
    environment.keep_freed_memory()
for turn in range(20):
    if turn == 5:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.zeros(10 << 20) for _ in range(3)]  # 40 MiB each, 10240 pages: glibc never keeps so much by itself
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_kept():
    given, kept = (
        int(subprocess.run([sys.executable, "-c", FAULTS, word], capture_output=True, text=True, check=True).stdout)
        for word in ("leave", "keep")
    )
    assert given >= 15 * 3 * 10240
    assert kept < given / 5  # now and then the heap still grows
