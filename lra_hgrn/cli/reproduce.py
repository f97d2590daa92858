"""`lra reproduce PAPER`: from data to the LaTeX table of a paper, beside what was published."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from lra_hgrn.cli.arguments import add_choice, add_overrides, add_runs, chosen, results_of
from lra_hgrn.cli.launching import add_launching, launcher_of, run_cells
from lra_hgrn.cli.sweep import print_plan

if TYPE_CHECKING:
    from lra_hgrn.results.gather import Results


FOLDER = Path("results") / "reproduced"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paper", metavar="PAPER", help="hgrn (the whole table of its paper), or a model whose recipes are published"
    )
    add_overrides(parser)
    add_choice(parser)
    add_runs(parser)
    parser.add_argument("--plan", action="store_true", help="run nothing: print what is missing, and what it takes")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help=f"folder of the tables and the report ({FOLDER}/PAPER)"
    )
    add_launching(parser)


def run(args: argparse.Namespace) -> int:
    from lra_hgrn.reproduce import reproduction
    from lra_hgrn.results.tables.cells_table import cells_table
    from lra_hgrn.results.tables.render import to_terminal

    launcher = launcher_of(args)
    suite = reproduction(args.paper, args.overrides, args.task, args.model)
    print_plan(suite, args.runs)
    if args.plan:
        return 0
    code = run_cells(suite, launcher, args)
    results = results_of(suite, args.runs)
    written = _write(results, args.output or FOLDER / args.paper, _again(args))
    print(to_terminal(cells_table(results)).rstrip("\n"))
    print("\n".join(map(str, written)))
    return code or int(bool(results.problems))


def _again(args: argparse.Namespace) -> str:
    """Return the command line that repeats this one."""
    return shlex.join(["lra", "reproduce", args.paper, *args.overrides, *chosen(args)])


def _write(results: "Results", folder: Path, command: str) -> list[Path]:
    """Write both tables in the formats of papers and spreadsheets, and the report; return the paths."""
    from lra_hgrn.errors import UserError
    from lra_hgrn.results.files import write_whole
    from lra_hgrn.results.report.report import write_report
    from lra_hgrn.results.tables.cells_table import cells_table
    from lra_hgrn.results.tables.models_table import models_table
    from lra_hgrn.results.tables.render import RENDERERS

    tables = {"table": models_table(results), "cells": cells_table(results)}
    try:
        written = [
            write_whole(folder / f"{name}.{ending}", RENDERERS[kind](table))
            for name, table in tables.items()
            for kind, ending in (("latex", "tex"), ("markdown", "md"), ("csv", "csv"))
        ]
        return [*written, write_report(results, folder / "report.html", commands=[command])]
    except OSError as error:
        raise UserError(f"Cannot write to {folder}: {error.strerror}; choose another --output.") from None
