"""`lra clean [KIND ...]`: what takes space on the disk, and freeing it."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lra_hgrn.cli.arguments import add_runs
from lra_hgrn.cli.table import add_format, default_format
from lra_hgrn.config.compose import RUNS
from lra_hgrn.errors import UserError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lra_tasks.holdings import Holding


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "kinds",
        metavar="KIND",
        nargs="*",
        help="what is deleted: leftovers, checkpoints, downloads, data, traces, best (nothing: a table of what each "
        "frees); never a record, nor what it rests on, nor what a process is working on",
    )
    parser.add_argument("--yes", action="store_true", help="delete without asking")
    add_runs(parser)
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="folder of prepared tasks ($LRA_DATA, else the user's cache folder)",
    )
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    from lra_hgrn.cleaning import KINDS, free, survey, table
    from lra_hgrn.results.tables.render import RENDERERS
    from lra_tasks.holdings import data_folder

    for kind in args.kinds:
        if kind not in KINDS:
            raise UserError(f"Unknown kind {kind!r}.{nearest(kind, KINDS)} There are {', '.join(KINDS)}.")
    data = data_folder(args.data_dir)
    for option, folder, given in (("--runs", args.runs, args.runs != RUNS), ("--data-dir", data, args.data_dir)):
        if given and not folder.is_dir():
            raise UserError(f"There is no folder {str(folder)!r}: give another as {option}.")
    found = survey(args.runs, data)
    if not args.kinds:
        print(RENDERERS[args.format or default_format()](table(found, args.runs, data)).rstrip("\n"))
        return 0
    chosen = [holding for holding in found if holding.kind in args.kinds]
    if not chosen:
        print("There is nothing to delete.")
        return 0
    if not args.yes and not _agreed(chosen):
        print("Nothing was deleted.")
        return 0
    # Anew: a run may have been taken up while the question stood.
    still = set(survey(args.runs, data))
    gone = free([holding for holding in chosen if holding in still])
    print(f"Freed: {_amount(gone)}.")
    if len(gone) < len(chosen):
        print(f"lra: {len(chosen) - len(gone):,} stay: a run or a task was taken up meanwhile.", file=sys.stderr)
    return 0


def _agreed(chosen: "Sequence[Holding]") -> bool:
    if not sys.stdin.isatty():
        raise UserError(f"This deletes {_amount(chosen)}, and there is no terminal to ask on: add --yes.")
    try:
        return input(f"Delete {_amount(chosen)}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _amount(holdings: "Sequence[Holding]") -> str:
    from lra_hgrn.cleaning import KINDS
    from lra_hgrn.results.tables.table import binary

    kinds = [(kind, [holding for holding in holdings if holding.kind == kind]) for kind in KINDS]
    each = ", ".join(f"{len(those):,} of {kind}" for kind, those in kinds if those) or "nothing"
    return f"{each}; {binary(sum(holding.size for holding in holdings))}"
