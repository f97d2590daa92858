"""`lra report SUITE|PAGE.md`: write a suite's results as an HTML page, or into a Markdown page's sections."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from lra_hgrn.cli.arguments import add_suite, chosen, results_of, suite_of
from lra_hgrn.cli.figures import add_figure

if TYPE_CHECKING:
    from lra_hgrn.results.report.markdown import Section

PAGE = Path("results") / "report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_suite(parser)
    add_figure(parser)
    parser.add_argument("--output", type=Path, metavar="FILE", help=f"the HTML page ({PAGE})")
    parser.add_argument("--check", action="store_true", help="of PAGE.md: write nothing; exit 1 if it is out of date")
    parser.epilog = (
        "In the place of SUITE, a Markdown page: what stands in it between a line <!-- lra report SUITE ... --> and a "
        "line <!-- end of lra report --> is written anew by that command, with the figures as PNG files beside it."
    )


def run(args: argparse.Namespace) -> int:
    from lra_hgrn.errors import UserError

    if args.suite.lower().endswith(".md"):
        return _rewrite(Path(args.suite), args)
    if args.check:
        raise UserError("--check is about a Markdown page: give PAGE.md in the place of the suite.")
    return _write(args)


def _write(args: argparse.Namespace) -> int:
    from lra_hgrn.errors import UserError
    from lra_hgrn.results.report.report import write_report

    output = args.output or PAGE
    if output.suffix.lower() == ".md":
        raise UserError(f"{output} would be HTML: for a Markdown page see the end of `lra report --help`.")
    results = results_of(suite_of(args), args.runs)
    words = shlex.join([args.suite, *args.overrides, *chosen(args)])
    commands = [f"lra {command} {words}" for command in ("sweep", "table", "compare", "figures", "report")]
    try:
        path = write_report(results, output, commands=commands, families=args.figure)
    except OSError as error:
        raise UserError(f"Cannot write {output}: {error.strerror}; choose another --output.") from None
    print(path)
    return 1 if results.problems else 0


def _rewrite(page: Path, args: argparse.Namespace) -> int:
    """Write the sections of a page anew, all of them or none; or only compare."""
    from lra_hgrn.errors import UserError
    from lra_hgrn.results.files import write_whole
    from lra_hgrn.results.report.sections import read_page, rewritten

    if args.overrides or args.task or args.model or args.figure or args.output is not None:
        raise UserError(f"{page} is a page: its sections say what is written into it; give it alone, or with --check.")
    files: dict[Path, str | bytes] = {}
    problems: list[str] = []

    def write(words: list[str]) -> str:
        made, found = _section(words, page)
        files.update(made.files)
        problems.extend(found)
        return made.text

    before = read_page(page)
    text = rewritten(before, page, write)
    if args.check:
        missing = [str(path) for path in files if not path.is_file()]
        stale = [f"{page} is out of date"] * (text != before) + [f"{path} is missing" for path in missing]
        print(f"{'; '.join(stale)}: `lra report {page}` writes it anew." if stale else f"{page} is up to date.")
        return 1 if stale or problems else 0
    for path, content in {**files, page: text}.items():
        try:
            print(write_whole(path, content))
        except OSError as error:
            raise UserError(f"Cannot write {path}: {error.strerror}; mend this and type the same again.") from None
    return 1 if problems else 0


def _section(words: list[str], page: Path) -> tuple["Section", list[str]]:
    """Render the section that these words ask for; return it, and what could not be read."""
    from lra_hgrn.cli.main import parse
    from lra_hgrn.errors import UserError
    from lra_hgrn.results.report.markdown import section

    args = parse(["report", *words])
    if args.check or args.output is not None or args.suite.lower().endswith(".md"):
        raise UserError(
            f"{page}: a section takes a suite, key=value words, --task, --model, --figure and --runs alone."
        )
    suite = suite_of(args)
    results = results_of(suite, args.runs)
    said = shlex.join([args.suite, *args.overrides, *chosen(args)])
    commands = [f"lra sweep {said}", f"lra table {said} --runs {shlex.quote(str(args.runs))}"]
    return section(results, page, suite.name, commands=commands, families=args.figure), results.problems
