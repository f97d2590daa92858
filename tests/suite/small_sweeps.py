"""Sweeps over cells that take some seconds, as commands in a user's folder: where do they run, and how often?"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from lra_hgrn.results.record import load_record

HERE = Path(__file__).parent

SUITE = """
title: Slow
seeds: SEEDS
set:
  model: {d_model: 4, layers: 1, dropout: 0.1}
  optim: {lr: 0.01}
  train: {epochs: 4, batch_size: 10, log_every: 5, accelerator: cpu, checkpoint_minutes: 0.001}
cells: [{model: slow_mixer.Slow, task: toy.yaml}]
"""

# Most of a step is sleep: other processes may have the processor.
MIXER = """
import time
from torch import nn

class Slow(nn.Module):
    def __init__(self, d_model, wait=0.2):
        super().__init__()
        self.linear, self.wait = nn.Linear(d_model, d_model), wait

    def forward(self, x):
        if self.training:
            time.sleep(self.wait)
        return self.linear(x).cumsum(1)
"""


def make_home(folder, seeds):
    """Write a suite ``slow.yaml`` of one cell, of so many seeds, into a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "toy.yaml").write_text("task: {name: toy_task.Toy}\n")
    (folder / "slow.yaml").write_text(SUITE.replace("SEEDS", str(list(range(1, seeds + 1)))))
    (folder / "slow_mixer.py").write_text(MIXER)
    return folder


def start(home, *words):
    """Start a command of `lra` in a user's folder."""
    environment = {**os.environ, "PYTHONPATH": str(HERE), "LRA_DATA": str(home / "data"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "lra_hgrn", *words],
        cwd=home,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process):
    """Wait for a command; return its exit code, standard output and standard error."""
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def until(found, *processes):
    """Wait until a function finds something, and return that; fail if one of the processes ends before."""
    deadline = time.monotonic() + 120
    while not (result := found()):
        over = [process.communicate() for process in processes if process.poll() is not None]
        assert not over, over
        assert time.monotonic() < deadline, "nothing was found in time"
        time.sleep(0.05)
    return result


def in_training(runs):
    """Return the runs that have saved a state and have no record yet."""
    return [path.parent for path in runs.glob("*/last.ckpt") if not (path.parent / "record.json").exists()]


def worker(run):
    """Return the process id of who works on a run, or None."""
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0") if folder.name.isdecimal() else []
            if b"--output" in words:
                output = os.fsdecode(words[words.index(b"--output") + 1])
                if (folder / "cwd").resolve() / output == run:
                    return int(folder.name)
        except OSError:  # it has just ended
            continue
    return None


def parent(process):
    """Return the process id of a process's parent."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def finishes_of(run):
    """Count the sessions in which a run came to its test, which is its end."""
    return (run / "log.txt").read_text().count(": test 1/")


def begins_of(run):
    """Return the steps at which the sessions of a run began to train."""
    lines = (run / "log.txt").read_text().splitlines()
    return [int(line.split(": train ")[1].split("/")[0]) for line in lines if ": train " in line]


def assert_stops(home, *words):
    """Stop a sweep of one seed while its cell trains: the cell saves its state and ends too."""
    runs = home / "results" / "runs"
    with start(home, "sweep", "slow.yaml", *words) as sweep:
        (run,) = until(lambda: in_training(runs), sweep)
        sweep.send_signal(signal.SIGTERM)
        code, _, err = ended(sweep)
    assert code == 130, err
    assert "the same command goes on" in err
    assert load_record(run / "record.json").status == "stopped"
    assert worker(run) is None
