"""Train the same cell again and again and kill it at random moments; run as a script.

Its arguments are a folder, the number of kills and a seed. ``undisturbed`` in the folder is a run that nobody killed;
``killed-1``, ``killed-2`` ... are what the others came to. A line is printed for each kill. Each session is a process
of its own, forked from this one, which has imported all that they need.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from lra_hgrn.config import from_plain
from lra_hgrn.training.run import train

TOUCHED = ("open", "os.rename", "os.remove", "os.mkdir")  # what a process does to files


def config(folder, minutes):
    return from_plain(
        {
            "task": {"name": "toy_task.Toy", "data_dir": str(folder / "data")},
            "model": {"name": "HGRN", "d_model": 8, "dropout": 0.2, "norm": "batch", "positions": "learned"},
            "optim": {"lr": 0.01, "warmup_steps": 4, "clip": 1.0},
            "train": {
                **{"epochs": 2, "batch_size": 16, "log_every": 4, "accelerator": "cpu", "plateau_epochs": 1},
                "checkpoint_minutes": minutes,
            },
        },
        "kills.py",
    )


def session(folder, name, minutes, event=None):
    """Fork a process that trains in ``folder / name``, and kills itself before its n-th touch of a file there."""
    pid = os.fork()
    if pid:
        return pid
    touched = [0]

    def hook(what, arguments):
        if what in TOUCHED and str(folder / name) in str(arguments[0]):
            touched[0] += 1
            if touched[0] == event:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        sys.addaudithook(hook)
        train(config(folder, minutes), folder / name, resume=True)
        (folder / f"{name}.events").write_text(str(touched[0]))
    except BaseException as error:
        print("ERROR", name, repr(error), flush=True)
        os._exit(1)
    os._exit(0)


def main():
    folder, kills, draw = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
    torch.set_num_threads(1)
    began = time.monotonic()
    os.waitpid(session(folder, "undisturbed", 10), 0)
    whole, events = time.monotonic() - began, int((folder / "undisturbed.events").read_text())
    run = done = 0
    while done < kills:
        run, ended = run + 1, False
        while not ended:
            minutes = draw.choice([0, 10])
            by_file = done < kills and draw.random() < 0.5
            event = draw.randint(1, events if minutes else 3 * events) if by_file else None
            moment = draw.uniform(0, whole) if done < kills and not by_file else None
            pid = session(folder, f"killed-{run}", minutes, event)
            if moment is not None:
                time.sleep(moment)
                os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            if os.WIFSIGNALED(status):
                done += 1
                print("killed", run, f"at touch {event}" if by_file else f"after {moment:.2f} s", flush=True)
            elif os.WEXITSTATUS(status):
                sys.exit(f"killed-{run} cannot go on")
            else:
                ended = True


if __name__ == "__main__":
    main()
