"""Where the cells of a sweep run: options that `lra sweep` and `lra reproduce` share."""

import argparse
import sys
from typing import TYPE_CHECKING

from lra_hgrn.errors import UserError

if TYPE_CHECKING:
    from lra_hgrn.suite import Suite
    from lra_hgrn.sweep.launcher import Launcher

_BELONGS = {"address": "ray", "cpus": "ray", "gpus": "ray", "slurm": "slurm", "retries": "ray or slurm"}
RETRIES = 3


def add_launching(parser: argparse.ArgumentParser) -> None:
    """[--reseed N] [--launcher local|ray|slurm] and what belongs to each"""
    parser.add_argument(
        "--reseed",
        type=_count,
        default=0,
        metavar="N",
        help="try up to N further seeds for one that diverged or failed, which stays in the tables as such (0)",
    )
    parser.add_argument(
        "--launcher",
        choices=("local", "ray", "slurm"),
        default="local",
        help="where the cells run: one at a time here (local), on a Ray cluster, or as jobs of Slurm",
    )
    ray = parser.add_argument_group("on a Ray cluster")
    ray.add_argument("--address", metavar="HOST:PORT", help="of the cluster (RAY_ADDRESS, or the one of this machine)")
    ray.add_argument("--cpus", type=_amount, metavar="N", help="CPUs that a cell takes (1)")
    ray.add_argument("--gpus", type=_amount, metavar="X", help="GPUs that a cell takes, e.g. 0.5: two share one (0)")
    slurm = parser.add_argument_group("on Slurm")
    slurm.add_argument(
        "--slurm",
        action="append",
        metavar="key=value",
        help="a parameter of each job by submitit's name, e.g. partition=gpu gpus_per_node=1 timeout_min=240 (1440); "
        "may be repeated; cluster=local tries it out without Slurm",
    )
    both = parser.add_argument_group("on both")
    both.add_argument(
        "--retries", type=_count, metavar="N", help=f"how often a cell goes on that lost its place ({RETRIES})"
    )


def run_cells(suite: "Suite", launcher: "Launcher", args: argparse.Namespace) -> int:
    """Run what is missing and return the exit code."""
    from lra_hgrn.sweep.sweep import sweep

    failures = sweep(suite, args.runs, launcher, args.reseed)
    for failure in failures:  # at the end, where they are seen
        print(f"lra: {failure}", file=sys.stderr)
    return 1 if failures else 0


def launcher_of(args: argparse.Namespace) -> "Launcher":
    """Return the launcher that `add_launching`'s arguments name.

    Raises:
        UserError: an option belongs to another launcher, or has a wrong value.
    """
    for option, launchers in _BELONGS.items():
        if getattr(args, option) is not None and args.launcher not in launchers:
            raise UserError(f"--{option} belongs to --launcher {launchers}, not to {args.launcher}.")
    retries = RETRIES if args.retries is None else args.retries
    if args.launcher == "ray":
        from lra_hgrn.sweep.on_ray import OnRay

        cpus = 1.0 if args.cpus is None else args.cpus
        return OnRay(args.runs, args.address, cpus, args.gpus or 0.0, retries)
    if args.launcher == "slurm":
        from lra_hgrn.sweep.on_slurm import OnSlurm, parameters

        return OnSlurm(args.runs, parameters(args.slurm or []), retries)
    from lra_hgrn.sweep.local import Local

    return Local()


def _count(word: str) -> int:
    if not word.isdecimal():
        raise argparse.ArgumentTypeError(f"takes a whole number from 0 on, not {word!r}")
    return int(word)


def _amount(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"takes a number from 0 on, not {word!r}")
    return value
