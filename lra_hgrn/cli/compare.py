"""`lra compare SUITE`: test which differences between the models of a suite are more than noise."""

import argparse
import sys

from lra_hgrn.cli.arguments import add_suite, results_of, suite_of
from lra_hgrn.cli.table import add_format, default_format


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_suite(parser)
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    from lra_hgrn.results.compare import apart, comparison_table
    from lra_hgrn.results.tables.render import RENDERERS

    results = results_of(suite_of(args), args.runs)
    for problem in results.unread:
        print(f"lra: {problem}", file=sys.stderr)
    table = comparison_table(results.comparisons, results.title, apart(results.answers))
    print(RENDERERS[args.format or default_format()](table).rstrip("\n"))
    return 1 if results.problems or results.unread else 0
