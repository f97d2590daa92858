"""`lra report SUITE`: write a suite's results as one self-contained HTML page."""

import argparse
import shlex
from pathlib import Path

from lra_hgrn.cli.arguments import add_suite, results_of, suite_of

PAGE = Path("results") / "report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_suite(parser)
    parser.add_argument("--output", type=Path, default=PAGE, metavar="FILE", help=f"the page ({PAGE})")


def run(args: argparse.Namespace) -> int:
    from lra_hgrn.errors import UserError
    from lra_hgrn.results.report.report import write_report

    results = results_of(suite_of(args), args.runs)
    chosen = [word for name in ("task", "model") for value in getattr(args, name) for word in (f"--{name}", value)]
    words = shlex.join([args.suite, *args.overrides, *chosen])
    commands = [f"lra {command} {words}" for command in ("sweep", "table", "compare", "figures", "report")]
    try:
        path = write_report(results, args.output, commands=commands)
    except OSError as error:
        raise UserError(f"Cannot write {args.output}: {error.strerror}; choose another --output.") from None
    print(path)
    return 1 if results.problems else 0
