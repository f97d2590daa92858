"""`lra bench data`: generators beside the original ones' published times; loaders."""

import argparse
from collections.abc import Sequence

from lra_hgrn.cli.arguments import add_overrides


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="tasks whose loaders to measure, prepared if need be")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="time for each figure (3)")
    add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    from lra_hgrn.config.compose import compose_task
    from lra_hgrn.training.data import build_task
    from lra_tasks.bench import ORIGINAL_SECONDS, bench_generators, bench_loader

    rows = bench_generators(args.seconds)
    for name in [word for word in args.tasks if "=" not in word]:
        task = build_task(compose_task(name, [*args.overrides, *(word for word in args.tasks if "=" in word)]))
        task.prepare_data()
        task.setup()
        rows.append(bench_loader(task, args.seconds))
    _print(
        ("what", "rate", "unit", "× original"),
        [(row.what, f"{row.rate:,.0f}", row.unit, f"{row.speedup:.0f}" if row.speedup else "–") for row in rows],
    )
    times = ", ".join(f"{seconds} s at {side}×{side}" for side, seconds in ORIGINAL_SECONDS.items())
    print(f"\nOriginal: the public Pathfinder generator on one core of another machine, {times} an image.")
    return 0


def _print(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        cells = [
            f"{row[0]:{widths[0]}}",
            *(f"{text:>{width}}" for text, width in zip(row[1:], widths[1:], strict=True)),
        ]
        print("  ".join(cells).rstrip())
