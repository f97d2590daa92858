"""`lra report SUITE`: write a suite's results as one self-contained HTML page."""

import argparse
import shlex
import sys
from pathlib import Path

from lra_hgrn.cli.arguments import add_suite

PAGE = Path("results") / "report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_suite(parser)
    parser.add_argument("--output", type=Path, default=PAGE, metavar="FILE", help=f"the page ({PAGE})")


def run(args: argparse.Namespace) -> int:
    from lra_hgrn.errors import UserError
    from lra_hgrn.results.report import write_report
    from lra_hgrn.suite import load_suite

    suite = load_suite(args.suite, args.overrides)
    records, problems = suite.records(args.runs)
    words = shlex.join([args.suite, *args.overrides])
    try:
        path = write_report(
            records,
            suite.title,
            args.output,
            cells=suite.cells,
            baseline=suite.baseline,
            runs=args.runs,
            commands=[f"lra sweep {words}", f"lra table {words}", f"lra report {words}"],
            problems=problems,
        )
    except OSError as error:
        raise UserError(f"Cannot write {args.output}: {error.strerror}; choose another --output.") from None
    for problem in problems:
        print(f"lra: {problem}", file=sys.stderr)
    print(path)
    return 1 if problems else 0
