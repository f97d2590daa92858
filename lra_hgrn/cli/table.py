"""`lra table SUITE`: print the comparison table of a suite."""

import argparse
import sys
from typing import TYPE_CHECKING

from lra_hgrn.cli.arguments import add_suite

if TYPE_CHECKING:
    from lra_hgrn.results.table import Table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_suite(parser)
    parser.add_argument("--format", choices=("markdown", "csv", "latex"), default="markdown", help="(markdown)")


def run(args: argparse.Namespace) -> int:
    from lra_hgrn.results.render import RENDERERS
    from lra_hgrn.results.table import make_table
    from lra_hgrn.suite import load_suite

    suite = load_suite(args.suite, args.overrides)
    records, problems = suite.records(args.runs)
    for problem in problems:
        print(f"lra: {problem}", file=sys.stderr)
    table: Table = make_table(suite.cells, records, baseline=suite.baseline, caption=suite.title)
    print(RENDERERS[args.format](table).rstrip("\n"))
    return 1 if problems else 0
