"""`lra sweep SUITE`: run the missing cells of a suite, or print what is missing and what it will take."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lra_hgrn.cli.arguments import add_suite, suite_of
from lra_hgrn.cli.launching import add_launching, launcher_of, run_cells

if TYPE_CHECKING:
    from lra_hgrn.suite import Suite


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_suite(parser)
    parser.add_argument(
        "--plan", action="store_true", help="run nothing: print what is done, what is missing, and what it takes"
    )
    add_launching(parser)


def run(args: argparse.Namespace) -> int:
    launcher = launcher_of(args)  # a wrong word is told before the suite is composed
    suite = suite_of(args)
    if args.plan:
        print_plan(suite, args.runs)
        return 0
    return run_cells(suite, launcher, args)


def print_plan(suite: "Suite", runs: Path) -> None:
    """Print the plan, from what earlier runs and probes have told."""
    from lra_hgrn.planning.estimates import load
    from lra_hgrn.planning.plan import plan, plan_table
    from lra_hgrn.results.tables.render import to_terminal

    print(to_terminal(plan_table(suite, plan(suite, runs, load(runs)), runs)).rstrip("\n"))
