"""`lra estimate SUITE`: measure for a moment what each missing cell takes on this machine, and print the plan."""

import argparse

from lra_hgrn.cli.arguments import add_suite, suite_of
from lra_hgrn.cli.sweep import print_plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_suite(parser)


def run(args: argparse.Namespace) -> int:
    from lra_hgrn.planning.estimates import measure
    from lra_hgrn.planning.plan import plan
    from lra_hgrn.progress import counter

    suite = suite_of(args)
    todo = {work.job.identity: work.job.config for work in plan(suite, args.runs, {}) if work.whole is None}
    with counter("probes", len(todo)) as progress:
        measure(list(todo.values()), args.runs, progress)
    print_plan(suite, args.runs)
    return 0
