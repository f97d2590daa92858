"""`lra data prepare|info|show|verify`: the data of the tasks."""

import argparse
import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lra_hgrn.cli.arguments import add_overrides
from lra_hgrn.errors import UserError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from lra_tasks import LRATask

ALL = "all"
_TASK = "a name in configs/tasks, a .yaml file of yours, a class's dotted path, or a folder of arrays"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    prepare = verbs.add_parser("prepare", help="fetch or generate a task's data now rather than at its first training")
    _add_task(prepare, f"{_TASK}, or {ALL}")
    prepare.add_argument(
        "--from", dest="origin", type=Path, metavar="PATH", help="archive or folder to read in place of a download"
    )
    info = verbs.add_parser("info", help="print the card of a task and what is prepared of it; without a task, all")
    info.add_argument("task", metavar="TASK", nargs="?", help=_TASK)
    _add_options(info)
    show = verbs.add_parser("show", help="look at samples: a PNG contact sheet of images, or text in the terminal")
    _add_task(show, _TASK)
    show.add_argument("--split", choices=("train", "val", "test"), default="train", help="(train)")
    show.add_argument("--count", type=int, metavar="N", help="samples (16 images, or 3 texts)")
    show.add_argument("--offset", type=int, default=0, metavar="N", help="number of the first sample (0)")
    show.add_argument("--output", type=Path, metavar="FILE", help="the PNG (TASK.png in this folder)")
    verify = verbs.add_parser(
        "verify", help="count prepared data again and compare with what is known; 1 on a mismatch"
    )
    _add_task(verify, f"{_TASK}, or {ALL} that are prepared")


def _add_task(parser: argparse.ArgumentParser, meaning: str) -> None:
    parser.add_argument("task", metavar="TASK", help=meaning)
    _add_options(parser)


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_overrides(parser)
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="folder of prepared tasks ($LRA_DATA, else the user's cache folder)",
    )


def run(args: argparse.Namespace) -> int:
    return {"prepare": _prepare, "info": _info, "show": _show, "verify": _verify}[args.verb](args)


def _build(args: argparse.Namespace, name: str | None = None) -> "LRATask":
    from lra_hgrn.config.compose import compose_task
    from lra_hgrn.training.data import build_task

    words = [f"task.data_dir={args.data_dir}"] if args.data_dir is not None else []
    return build_task(compose_task(name or args.task, [*words, *args.overrides]))


def _named(args: argparse.Namespace) -> Iterator[str]:
    from lra_tasks import task_names

    yield from task_names() if args.task == ALL else [args.task]


def _prepare(args: argparse.Namespace) -> int:
    from lra_tasks import TaskError

    if args.task == ALL and args.origin is not None:
        raise UserError("--from names the files of one task: prepare the tasks one by one.")
    failed = []
    for name in _named(args):
        try:
            task = _build(args, name)
            if args.origin is not None and task.folder.exists():
                print(f"lra: {name} is prepared already; {args.origin} was not read.", file=sys.stderr)
            prepare_with_bar(task, args.origin)
        except TaskError as error:
            if args.task != ALL:
                raise
            print(f"lra: {error}", file=sys.stderr)  # the others do not depend on it
            failed.append(name)
            continue
        sizes = ", ".join(f"{len(task.split(split)):,} {split}" for split in ("train", "val", "test"))
        print(f"{task.name} ({task.scale}, protocol {task.protocol}, {task.source}): {sizes}")
        print(f"{task.folder}\nsha256 {task.fingerprint}")
    if failed:
        raise UserError(f"Not prepared: {', '.join(failed)}; the others are. The same command goes on.")
    return 0


def prepare_with_bar(task: "LRATask", origin: Path | None = None) -> None:
    """Prepare a task and set it up, with a progress bar."""
    from lra_hgrn.progress import bar

    with bar() as progress:
        lines = {
            "download": progress.add_task(f"fetching {task.name}, MB", total=None, note="", visible=False),
            "prepare": progress.add_task(f"preparing {task.name} ({task.scale})", total=None, note=""),
        }

        def update(phase: str, done: int, total: int | None) -> None:
            unit = 1_000_000 if phase == "download" else 1
            whole = None if total is None else -(-total // unit)
            progress.update(lines[phase], completed=done // unit, total=whole, visible=True)

        task.prepare_data(update, origin)
        for line in lines.values():
            progress.update(line, visible=False)
    task.setup()


def _info(args: argparse.Namespace) -> int:
    from lra_tasks import task_cards
    from lra_tasks.card import markdown_table

    if args.task is None:
        print(markdown_table(task_cards()), end="")
        return 0
    task = _build(args)
    card, protocol, spec = task.card, task.card.protocol(task.protocol), task.spec
    rows = {
        "task": f"{card.title}: {card.summary}.",
        "source": card.source,
        "licence": card.licence,
        "published splits": f"{card.train:,} train, {card.val or 'no'} val, {card.test:,} test",
        "scales": ", ".join(
            f"{name} ({scale.train:,}/{scale.val:,}/{scale.test:,})" for name, scale in task.scales.items()
        ),
        "sources": ", ".join(card.sources),
        f"protocol {protocol.name}": f"{protocol.encoding}; splits: {protocol.splits}",
        "departures": " ".join([*task.departures, *task.rule_departures]) or "none",
        f"scale {task.scale}": f"inputs are {spec.inputs}{f', {spec.channels} a step' if spec.channels > 1 else ''}, "
        f"at most {spec.max_length:,} steps, {spec.n_classes} classes",
        "folder": str(task.folder),
    }
    if card.archive is not None:
        checksum = f"md5 {card.archive.md5}" if card.archive.md5 else "no published checksum"
        rows["archive"] = f"{card.archive.url} ({checksum})"
    if task.folder.exists():
        task.setup()
        rows["prepared"] = f"yes, sha256 {task.fingerprint}"
    else:
        rows["prepared"] = f"no; lra data prepare {args.task}"
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:{width}}  {value}")
    return 0


def _show(args: argparse.Namespace) -> int:
    from rich.console import Console

    from lra_tasks.show import contact_sheet, text_samples

    task = _build(args)
    prepare_with_bar(task)
    if task.spec.side:
        path = args.output or Path(f"{task.name}.png")
        contact_sheet(task, path, 16 if args.count is None else args.count, split=args.split, offset=args.offset)
        print(path)
        return 0
    if args.output is not None:
        print(f"lra: {task.name} is shown as text; --output is for images.", file=sys.stderr)
        return 2
    console = Console()
    for heading, documents in text_samples(
        task, 3 if args.count is None else args.count, split=args.split, offset=args.offset
    ):
        console.rule(heading)
        for document in documents:
            console.print(document)
    return 0


def _advance(progress: "Progress", line: "TaskID", done: int, total: int) -> None:
    progress.update(line, completed=done, total=total)


def _verify(args: argparse.Namespace) -> int:
    from lra_hgrn.progress import bar
    from lra_tasks.verify import verify

    code = checked = 0
    for name in _named(args):
        task = _build(args, name)
        if args.task == ALL and not task.folder.exists():
            print(f"{task.name} ({task.scale}, protocol {task.protocol}, {task.source}): not prepared\n")
            continue
        if not task.folder.exists():
            raise UserError(
                f"{name} is not prepared with these options: run `lra data prepare {name}` with them first."
            )
        task.setup()
        checked += 1
        with bar() as progress:
            line = progress.add_task(f"verifying {task.name}", total=None, note="")
            report = verify(task, functools.partial(_advance, progress, line))
            progress.update(line, visible=False)
        print(f"{task.name} ({task.scale}, protocol {task.protocol}, {task.source})\n{report}\n")
        code = max(code, 0 if report.ok else 1)
    if not checked:
        raise UserError("Nothing is prepared with these options; see `lra data prepare --help`.")
    return code
