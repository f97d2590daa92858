"""`lra compare SUITE`: test which differences between the models of a suite are more than noise."""

import argparse
import sys

from lra_hgrn.cli.arguments import add_suite, results_of, suite_of
from lra_hgrn.cli.table import add_format, default_format


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_suite(parser)
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    from lra_hgrn.results.compare import apart, compare_answers, comparison_table, load_answers
    from lra_hgrn.results.render import RENDERERS

    results = results_of(suite_of(args), args.runs)
    answers, unread = load_answers(results.cells, results.predictions)
    for problem in unread:
        print(f"lra: {problem}", file=sys.stderr)
    table = comparison_table(compare_answers(answers), results.title, apart(answers))
    print(RENDERERS[args.format or default_format()](table).rstrip("\n"))
    return 1 if results.problems or unread else 0
