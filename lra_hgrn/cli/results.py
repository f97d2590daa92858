"""`lra results list|show|export|import|verify`: the records of runs."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lra_hgrn.cli.arguments import add_runs
from lra_hgrn.cli.table import add_format, default_format
from lra_hgrn.errors import UserError, nearest

if TYPE_CHECKING:
    from lra_hgrn.results.archive import Moved

LARGE = 200_000  # bytes of one run that are worth a warning: records are made to be committed
_RUN = "folder of a run, or its name in the folder of the runs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    each = verbs.add_parser("list", help="print a line for each record; exit code 1 if one cannot be read")
    each.add_argument(
        "overrides",
        metavar="key=value",
        nargs="*",
        help="only records with this task, model, status, seed, ... or option, e.g. task=listops optim.lr=0.001",
    )
    add_format(each)
    show = verbs.add_parser("show", help="print all that is known of a run, and the command that repeats it")
    show.add_argument("run", metavar="RUN", help=_RUN)
    export = verbs.add_parser(
        "export", help="copy runs, without checkpoints and logs, into a folder, a .tar.gz or a .zip"
    )
    export.add_argument("destination", type=Path, metavar="DESTINATION", help="what is written, by its ending")
    export.add_argument("run", metavar="RUN", nargs="*", help=f"{_RUN} (all)")
    export.add_argument("--suite", metavar="SUITE", help="the runs of this suite that have a record")
    take = verbs.add_parser("import", help="take in what `lra results export` wrote, each run verified")
    take.add_argument("source", type=Path, metavar="SOURCE", help="a folder, a .tar.gz or a .zip")
    verify = verbs.add_parser("verify", help="hold the files of runs against their records; 1 on a mismatch")
    verify.add_argument("run", metavar="RUN", nargs="*", help=f"{_RUN} (all)")
    for verb in (each, show, export, take, verify):
        add_runs(verb)


def run(args: argparse.Namespace) -> int:
    return {"list": _list, "show": _show, "export": _export, "import": _import, "verify": _verify}[args.verb](args)


def _list(args: argparse.Namespace) -> int:
    from lra_hgrn.results.listing import listing, select
    from lra_hgrn.results.record import find_records
    from lra_hgrn.results.tables.render import RENDERERS

    found, problems = find_records(args.runs)
    for problem in problems:
        print(f"lra: {problem}", file=sys.stderr)
    chosen = select([record for _, record in found], args.overrides)
    print(RENDERERS[args.format or default_format()](listing(chosen)).rstrip("\n"))
    return 1 if problems else 0


def _show(args: argparse.Namespace) -> int:
    from lra_hgrn.results.listing import description
    from lra_hgrn.results.record import FILE, load_record

    (folder,) = _folders([args.run], args.runs)
    rows = description(load_record(folder / FILE), folder)
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        print(f"{name:{width}}  {text}")
    return 0


def _export(args: argparse.Namespace) -> int:
    from lra_hgrn.results.archive import export_runs

    if args.suite is not None and args.run:
        raise UserError("Name the runs, or their --suite.")
    folders = _of_suite(args.suite, args.runs) if args.suite is not None else _folders(args.run, args.runs)
    moved = export_runs(args.destination, folders)
    large = [f"{name} ({_kilobytes(size)})" for name, size in moved.copied.items() if size > LARGE]
    if large:
        print(f"lra: More than {_kilobytes(LARGE)} in one run: {', '.join(large)}.", file=sys.stderr)
    return _tell(moved, args.destination)


def _import(args: argparse.Namespace) -> int:
    from lra_hgrn.results.archive import import_runs

    return _tell(import_runs(args.source, args.runs), args.runs)


def _tell(moved: "Moved", place: Path) -> int:
    from lra_hgrn.results.tables.table import count

    for name in moved.copied:
        print(name)
    there = f"; {len(moved.there)} there already" if moved.there else ""
    packed = f", {_kilobytes(place.stat().st_size)} packed" if place.is_file() else ""
    print(f"{count(len(moved.copied), 'run')}, {_kilobytes(sum(moved.copied.values()))}{packed}, in {place}{there}")
    return 0


def _kilobytes(size: int) -> str:
    return f"{size / 1000:,.0f} kB"


def _verify(args: argparse.Namespace) -> int:
    from lra_hgrn.cli.findings import show
    from lra_hgrn.results.check import verify_run
    from lra_hgrn.results.tables.table import count

    folders, failed = _folders(args.run, args.runs), 0
    for folder in folders:
        print(folder)
        found = verify_run(folder)
        for finding in found:
            show(finding)
        failed += any(finding.ok is False for finding in found)
        print()
    print(f"{count(len(folders), 'run')}: " + (f"{failed} not as recorded" if failed else "all as recorded"))
    return 1 if failed else 0


def _folders(words: Sequence[str], runs: Path) -> list[Path]:
    """Find the folders of the runs that are named, by path or by name; without a name, of all."""
    from lra_hgrn.results.record import FILE, run_folders

    paths = [Path(word) for word in words]
    if words and all((path / FILE).is_file() for path in paths):
        return paths
    there = run_folders(runs)
    if not words:
        if not there:
            raise UserError(f"There are no runs in {runs}: give the folder of your runs as --runs.")
        return there
    return [path if (path / FILE).is_file() else _named(path.name, there, runs) for path in paths]


def _named(name: str, there: Sequence[Path], runs: Path) -> Path:
    found = [folder for folder in there if folder.name == name]
    if len(found) != 1:
        close = nearest(name, [folder.name for folder in there])
        raise UserError(
            f"{len(found)} runs in {runs} are called {name!r}: give the folder of one."
            if found
            else f"There is no run {name!r} in {runs}.{close} See `lra results list`."
        )
    return found[0]


def _of_suite(name: str, runs: Path) -> list[Path]:
    from lra_hgrn.results.record import FILE
    from lra_hgrn.suite import load_suite

    suite = load_suite(name)
    tried = [one for job in suite.jobs for one in suite.tries(job, runs)]
    found = [folder for job in tried if ((folder := job.directory(runs)) / FILE).is_file()]
    if not found:
        raise UserError(f"No run of the suite {name} is in {runs}: `lra sweep {name}` makes them.")
    return found
