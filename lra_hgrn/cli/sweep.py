"""`lra sweep SUITE`: run the missing cells of a suite, or print what is missing and what it will take."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lra_hgrn.cli.arguments import add_suite, suite_of
from lra_hgrn.errors import UserError

if TYPE_CHECKING:
    from lra_hgrn.suite import Suite
    from lra_hgrn.sweep.launcher import Launcher

_BELONGS = {"address": "ray", "cpus": "ray", "gpus": "ray", "slurm": "slurm", "retries": "ray or slurm"}
RETRIES = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_suite(parser)
    parser.add_argument(
        "--plan", action="store_true", help="run nothing: print what is done, what is missing, and what it takes"
    )
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


def run(args: argparse.Namespace) -> int:
    launcher = _launcher(args)
    suite = suite_of(args)
    if args.plan:
        print_plan(suite, args.runs)
        return 0
    return run_cells(suite, args.runs, launcher, args.reseed)


def run_cells(suite: "Suite", runs: Path, launcher: "Launcher | None" = None, reseed: int = 0) -> int:
    """Run what is missing, here if no launcher is given, and return the exit code."""
    from lra_hgrn.sweep.local import Local
    from lra_hgrn.sweep.sweep import sweep

    failures = sweep(suite, runs, launcher or Local(), reseed)
    for failure in failures:  # at the end, where they are seen
        print(f"lra: {failure}", file=sys.stderr)
    return 1 if failures else 0


def print_plan(suite: "Suite", runs: Path) -> None:
    """Print the plan, from what earlier runs and probes have told."""
    from lra_hgrn.planning.estimates import load
    from lra_hgrn.planning.plan import plan, plan_table
    from lra_hgrn.results.tables.render import to_terminal

    print(to_terminal(plan_table(suite, plan(suite, runs, load(runs)), runs)).rstrip("\n"))


def _launcher(args: argparse.Namespace) -> "Launcher | None":
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
    return None


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
