"""What a run was computed on: versions, commit, device, memory."""

import contextlib
import ctypes
import math
import os
import platform
import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from hgrn_kernels import backend_for
from lra_hgrn.errors import UserError
from lra_hgrn.training.processes import Place

PACKAGES = ("lra-hgrn", "torch", "triton", "lightning", "torchmetrics", "numba", "numpy", "omegaconf")


def versions() -> dict[str, str]:
    """Return the versions of Python, the platform and the packages that decide results and speed."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Return the commit of the checkout this package runs from, with ``+dirty`` if it has changes; else None."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None  # installed from a wheel
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + ("+dirty" if _git(root, "status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


def device_name(device: torch.device) -> str:
    """Return the name of a device as its maker prints it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {os.cpu_count()} cores"


def compute_device(accelerator: str, place: Place | None = None) -> torch.device:
    """Return the device that ``train.accelerator`` asks for: "auto", "cpu" or "gpu".

    Args:
        place: of one of several processes, each of which gets a GPU of its own.

    Raises:
        UserError: there is no GPU, or fewer than processes.
    """
    gpu = torch.cuda.is_available() if accelerator == "auto" else accelerator == "gpu"
    if gpu and not torch.cuda.is_available():
        raise UserError("train.accelerator=gpu, but torch sees no GPU here; use train.accelerator=cpu.")
    if gpu and place is not None and place.world_size > 1:
        if place.local_size > torch.cuda.device_count():
            raise UserError(
                f"train.devices={place.local_size}, but torch sees {torch.cuda.device_count()} GPUs here: lower it."
            )
        torch.cuda.set_device(place.local_rank)
    return torch.device("cuda", torch.cuda.current_device()) if gpu else torch.device("cpu")


def kernel_backend(device: torch.device) -> str:
    """Return the backend of `hgrn_kernels` that is used on a device.

    Raises:
        UserError: the environment variable HGRN_BACKEND names one that is unknown or cannot run there.
    """
    try:
        return backend_for(device)
    except ValueError as error:
        raise UserError(str(error)) from None


def thread_count(wanted: int, processes: int = 1) -> int:
    """Return the number of CPU threads for ``train.threads``: what is wanted, or torch's number where that is 0.

    Several processes on one machine divide the latter among them.

    The latter never goes beyond the cores' time that the process's container is granted, of which torch knows nothing:
    threads that are paused in turns hold each other up.
    """
    return wanted or max(1, round(min(torch.get_num_threads(), _cpu_quota(Path("/sys/fs/cgroup"))) / processes))


def _cpu_quota(groups: Path) -> float:
    """Return the cores' time that a Linux control group grants; infinity where it sets no limit."""
    with contextlib.suppress(OSError, ValueError):  # version 2
        quota, period = (groups / "cpu.max").read_text().split()
        return math.inf if quota == "max" else int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError):  # version 1
        quota, period = ((groups / "cpu" / f"cpu.cfs_{word}_us").read_text() for word in ("quota", "period"))
        return math.inf if int(quota) < 0 else int(quota) / int(period)
    return math.inf


def keep_freed_memory() -> None:
    """Let this process keep the memory it frees, where it runs on glibc.

    Large tensors otherwise go back to the system at once and come again as pages that it has to clear, step by step:
    a scan on the CPU took up to twice as long.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_max, 0)


def memory_size() -> int | None:
    """Return the memory of the GPU, or of the machine where there is none, in bytes; None if it is not known."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def reset_peak_memory(device: torch.device) -> None:
    """Start measuring the peak anew (on Linux also for the resident set of this process)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        with contextlib.suppress(OSError):  # some containers forbid it: the peak counts from the process's start
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int:
    """Return the peak since `reset_peak_memory` in bytes: allocated on a GPU, resident set of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = next((line for line in lines if line.startswith("VmHWM")), None)
        if peak is not None:
            return int(peak.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
