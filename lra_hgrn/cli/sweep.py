"""`lra sweep SUITE`: run the missing cells of a suite."""

import argparse
import sys

from lra_hgrn.cli.arguments import add_suite


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_suite(parser)


def run(args: argparse.Namespace) -> int:
    from lra_hgrn.suite import load_suite
    from lra_hgrn.sweep import Stopped, report_failures, sweep

    suite = load_suite(args.suite, args.overrides)
    try:
        failures = sweep(suite, args.runs)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 130
    report_failures(failures)
    return 1 if failures else 0
