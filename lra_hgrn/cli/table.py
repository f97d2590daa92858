"""`lra table SUITE`: print the comparison table of a suite."""

import argparse
import sys
from pathlib import Path

from lra_hgrn.cli.arguments import add_suite, results_of, suite_of
from lra_hgrn.errors import UserError

FORMATS = ("terminal", "markdown", "latex", "csv", "html")
_SUFFIXES = {".md": "markdown", ".tex": "latex", ".csv": "csv", ".html": "html"}
_PUBLISHED = "published:"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_suite(parser)
    parser.add_argument(
        "--against",
        metavar="published:ID,...",
        help="rows of results/published.csv below the measured ones, e.g. published:transformer,s4,hgrn (the suite's)",
    )
    parser.add_argument(
        "--layout",
        choices=("models", "cells"),
        help="one row for each model, as papers print it, or one for each cell with all that is known of it "
        "(models, where the suite has several tasks)",
    )
    parser.add_argument(
        "--partial", action="store_true", help="average over the cells that are there (none where one is missing)"
    )
    add_format(parser)
    parser.add_argument("--output", type=Path, metavar="FILE", help="write to this file, in the format of its suffix")


def add_format(parser: argparse.ArgumentParser) -> None:
    """[--format FORMAT]"""
    parser.add_argument("--format", choices=FORMATS, help="(terminal on a terminal, else markdown)")


def run(args: argparse.Namespace) -> int:
    from lra_hgrn.results.files import write_whole
    from lra_hgrn.results.tables.cells_table import cells_table
    from lra_hgrn.results.tables.models_table import models_table
    from lra_hgrn.results.tables.render import RENDERERS

    if args.output is not None and args.output.is_dir():
        raise UserError(f"{args.output} is a folder: give --output the name of a file.")
    results = results_of(suite_of(args), args.runs, _ids(args.against))
    layout = args.layout or ("models" if len(results.tasks) > 1 else "cells")
    if args.partial and layout == "cells":
        raise UserError("--partial is about averages, which only --layout models has.")
    table = models_table(results, partial=args.partial) if layout == "models" else cells_table(results)
    text = RENDERERS[args.format or default_format(args.output)](table)
    if args.output is None:
        print(text.rstrip("\n"))
    else:
        try:
            print(write_whole(args.output, text))
        except OSError as error:
            raise UserError(f"Cannot write {args.output}: {error.strerror}; choose another --output.") from None
    return 1 if results.problems else 0


def default_format(output: Path | None = None) -> str:
    """The format by the suffix of the file; without a file, what suits the standard output."""
    if output is not None:
        return _SUFFIXES.get(output.suffix.lower(), "markdown")
    return "terminal" if sys.stdout.isatty() else "markdown"


def _ids(against: str | None) -> list[str] | None:
    """The ids in the value of --against; None where the option is not given."""
    if against is None:
        return None
    return [word for part in against.removeprefix(_PUBLISHED).split(",") if (word := part.strip())]
