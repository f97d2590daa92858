"""`lra data prepare|info|show`: the data of the tasks."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lra_hgrn.cli.arguments import add_overrides

if TYPE_CHECKING:
    from lra_tasks import LRATask


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    prepare = verbs.add_parser("prepare", help="generate a task's data now rather than at its first training")
    _add_task(prepare)
    info = verbs.add_parser("info", help="print the card of a task and what is prepared of it; without a task, all")
    info.add_argument("task", metavar="TASK", nargs="?", help="a name in configs/tasks, or a .yaml file of yours")
    add_overrides(info)
    show = verbs.add_parser("show", help="look at samples: a PNG contact sheet of images, or text in the terminal")
    _add_task(show)
    show.add_argument("--split", choices=("train", "val", "test"), default="train", help="(train)")
    show.add_argument("--count", type=int, metavar="N", help="samples (16 images, or 3 texts)")
    show.add_argument("--offset", type=int, default=0, metavar="N", help="number of the first sample (0)")
    show.add_argument("--output", type=Path, metavar="FILE", help="the PNG (TASK.png in this folder)")


def _add_task(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", help="a name in configs/tasks, or a .yaml file of yours")
    add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    return {"prepare": _prepare, "info": _info, "show": _show}[args.verb](args)


def _build(args: argparse.Namespace) -> "LRATask":
    from lra_hgrn.config.compose import compose_task
    from lra_hgrn.training.data import build_task

    return build_task(compose_task(args.task, args.overrides))


def _prepare(args: argparse.Namespace) -> int:
    task = _build(args)
    _prepare_with_bar(task)
    sizes = ", ".join(f"{len(task.split(name)):,} {name}" for name in ("train", "val", "test"))
    print(f"{task.name} ({task.scale}, protocol {task.protocol}): {sizes}\n{task.folder}\nsha256 {task.fingerprint}")
    return 0


def _prepare_with_bar(task: "LRATask") -> None:
    from lra_hgrn.progress import bar

    with bar() as progress:
        line = progress.add_task(f"preparing {task.name} ({task.scale})", total=None, note="")
        task.prepare_data(lambda done, total: progress.update(line, completed=done, total=total))
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
        "published splits": f"{card.train:,} train, {card.val:,} val, {card.test:,} test",
        "scales": ", ".join(
            f"{name} ({scale.train:,}/{scale.val:,}/{scale.test:,})" for name, scale in task.scales.items()
        ),
        f"protocol {protocol.name}": protocol.encoding,
        "departures": " ".join(protocol.departures) or "none",
        f"scale {task.scale}": f"inputs are {spec.inputs}, at most {spec.max_length:,} steps, {spec.n_classes} classes",
        "folder": str(task.folder),
    }
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
    _prepare_with_bar(task)
    if task.spec.inputs == "values":
        path = args.output or Path(f"{task.name}.png")
        contact_sheet(task, path, 16 if args.count is None else args.count, split=args.split, offset=args.offset)
        print(path)
        return 0
    if args.output is not None:
        print(f"lra: {task.name} is shown as text; --output is for images.", file=sys.stderr)
        return 2
    console = Console()
    for heading, sample in text_samples(
        task, 3 if args.count is None else args.count, split=args.split, offset=args.offset
    ):
        console.rule(heading)
        console.print(sample)
    return 0
