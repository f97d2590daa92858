"""Arguments that several subcommands share."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lra_hgrn.config.compose import RUNS

if TYPE_CHECKING:
    from lra_hgrn.results.gather import Results
    from lra_hgrn.suite import Suite


def add_model(parser: argparse.ArgumentParser) -> None:
    """MODEL"""
    parser.add_argument(
        "model", metavar="MODEL", help="a name in configs/models, a .yaml file of yours, or a class's dotted path"
    )


def add_cell(parser: argparse.ArgumentParser) -> None:
    """MODEL TASK [key=value ...]"""
    add_model(parser)
    parser.add_argument(
        "task",
        metavar="TASK",
        help="a name in configs/tasks, a .yaml file of yours, a class's dotted path, or a folder of arrays",
    )
    add_overrides(parser)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """[key=value ...]"""
    parser.add_argument(
        "overrides", metavar="key=value", nargs="*", help="options over those of the files, e.g. optim.lr=1e-3 seed=2"
    )


def add_suite(parser: argparse.ArgumentParser) -> None:
    """SUITE [key=value ...] [--task TASK ...] [--model MODEL ...] [--runs DIR]"""
    parser.add_argument("suite", metavar="SUITE", help="a name in configs/suites, or a .yaml file of yours")
    add_overrides(parser)
    add_choice(parser)
    add_runs(parser)


def add_choice(parser: argparse.ArgumentParser) -> None:
    """[--task TASK ...] [--model MODEL ...]"""
    parser.add_argument("--task", action="append", default=[], metavar="TASK", help="only this task; may be repeated")
    parser.add_argument("--model", action="append", default=[], metavar="MODEL", help="only this model; likewise")


def chosen(args: argparse.Namespace) -> list[str]:
    """The words that repeat `add_choice`'s arguments."""
    return [word for name in ("task", "model") for value in getattr(args, name) for word in (f"--{name}", value)]


def add_runs(parser: argparse.ArgumentParser) -> None:
    """[--runs DIR]"""
    parser.add_argument("--runs", type=Path, default=RUNS, metavar="DIR", help=f"folder of the runs ({RUNS})")


def suite_of(args: argparse.Namespace) -> "Suite":
    """Load the suite that `add_suite`'s arguments name."""
    from lra_hgrn.suite import load_suite

    return load_suite(args.suite, args.overrides, args.task, args.model)


def results_of(suite: "Suite", runs: Path, against: Sequence[str] | None = None) -> "Results":
    """Read what is known of a suite, and print one line for each record that cannot be read.

    Args:
        suite: the suite.
        runs: folder of its runs.
        against: ids of published rows; None: the suite's own.
    """
    from lra_hgrn.results.gather import gather

    records, problems = suite.records(runs)
    for problem in problems:
        print(f"lra: {problem}", file=sys.stderr)
    return gather(
        suite.keys,
        records,
        title=suite.title,
        baseline=suite.baseline,
        compared_with=suite.compared_with,
        against=suite.against if against is None else against,
        runs=runs,
        problems=problems,
    )
