"""`lra sweep SUITE`: run the missing cells of a suite, or print what is missing and what it will take."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lra_hgrn.cli.arguments import add_suite, suite_of

if TYPE_CHECKING:
    from lra_hgrn.suite import Suite


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_suite(parser)
    parser.add_argument(
        "--plan", action="store_true", help="run nothing: print what is done, what is missing, and what it takes"
    )


def run(args: argparse.Namespace) -> int:
    suite = suite_of(args)
    if args.plan:
        print_plan(suite, args.runs)
        return 0
    return run_cells(suite, args.runs)


def run_cells(suite: "Suite", runs: Path) -> int:
    """Run what is missing and return the exit code."""
    import sys

    from lra_hgrn.sweep import Stopped, report_failures, sweep

    try:
        failures = sweep(suite, runs)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 130
    report_failures(failures)
    return 1 if failures else 0


def print_plan(suite: "Suite", runs: Path) -> None:
    """Print the plan, from what earlier runs and probes have told."""
    from lra_hgrn.planning.estimates import load
    from lra_hgrn.planning.plan import plan, plan_table
    from lra_hgrn.results.tables.render import to_terminal

    print(to_terminal(plan_table(suite, plan(suite, runs, load(runs)), runs)).rstrip("\n"))
