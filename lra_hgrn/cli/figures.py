"""`lra figures SUITE`: write every figure that a suite's results support as a file."""

import argparse
import sys
from pathlib import Path

from lra_hgrn.cli.arguments import add_suite, results_of, suite_of

FOLDER = Path("results") / "figures"
FAMILIES = (
    *("deviation", "accuracy-speed", "cost-length", "curves"),
    *("calibration", "depth-length", "mistakes", "lower-bounds"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_suite(parser)
    add_figure(parser)
    parser.add_argument("--output", type=Path, metavar="DIR", help=f"folder of the files ({FOLDER}/SUITE)")
    parser.add_argument("--format", choices=("pdf", "png", "svg"), default="pdf", help="of the files (pdf, for LaTeX)")


def add_figure(parser: argparse.ArgumentParser) -> None:
    """[--figure FAMILY ...]"""
    parser.add_argument(
        "--figure",
        action="append",
        default=[],
        choices=FAMILIES,
        metavar="FAMILY",
        help=f"only these figures; may be repeated: {', '.join(FAMILIES)} (all)",
    )


def run(args: argparse.Namespace) -> int:
    from lra_hgrn.errors import UserError
    from lra_hgrn.results.figures.gallery import Omission, plates
    from lra_hgrn.results.figures.style import FORMATS
    from lra_hgrn.results.files import write_whole

    suite = suite_of(args)
    results = results_of(suite, args.runs)
    folder = FOLDER / suite.name if args.output is None else args.output
    for item in plates(results, args.figure):
        if isinstance(item, Omission):
            print(f"lra: {item.name} is left out. {item.reason}", file=sys.stderr)
            continue
        path = folder / f"{item.name}.{args.format}"
        try:
            print(write_whole(path, FORMATS[args.format](item.figure)))
        except OSError as error:
            raise UserError(f"Cannot write {path}: {error.strerror}; choose another --output.") from None
    return 1 if results.problems else 0
