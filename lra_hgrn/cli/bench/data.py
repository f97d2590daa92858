"""`lra bench data`: generators beside the original ones' published times; loaders, and what training waits for them."""

import argparse
import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lra_hgrn.cli.arguments import add_overrides
from lra_hgrn.cli.bench.output import check_writable, measured_on, write
from lra_hgrn.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from lra_hgrn.bench.data_loaders import Cell, Loader
    from lra_tasks.bench import BenchRow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "tasks",
        nargs="*",
        metavar="TASK",
        help="tasks whose loaders to measure, prepared if need be; without any, all that are prepared",
    )
    parser.add_argument("--model", default="hgrn", metavar="MODEL", help="what is trained while data is loaded (hgrn)")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="time for each figure (3)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write all figures and what they were measured on"
    )
    add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from lra_hgrn.bench.data_loaders import named_cells, prepared_cells
    from lra_hgrn.cli.data import prepare_with_bar
    from lra_hgrn.training import environment

    if not 0 < args.seconds < math.inf:
        raise UserError(f"--seconds takes a number above 0, not {args.seconds:g}.")
    if args.json is not None:
        check_writable(args.json, "--json")
    tasks = [word for word in args.tasks if "=" not in word]
    overrides = [*args.overrides, *(word for word in args.tasks if "=" in word)]
    left_out: dict[str, str] = {}
    if tasks:
        cells = named_cells(tasks, args.model, overrides)
        for cell in cells:
            prepare_with_bar(cell.task)
    else:
        cells, left_out = prepared_cells(args.model, overrides)
    about = measured_on(cells[0].device if cells else environment.compute_device("auto"))
    generators, loaders, failed = _measure(cells, args.seconds)
    if tasks and failed:
        raise UserError(" ".join(failed.values()))
    left_out |= failed
    console = Console(highlight=False, markup=False)
    console.width = max(console.width, 120)  # in a file, too, nothing is cut off
    console.print(f"{about['device']}; backend {about['backend']}")
    _print_generators(console, generators)
    _print_loaders(console, loaders)
    for name, reason in left_out.items():
        console.print(f"left out: {name}, {reason}")
    if args.json is not None:
        found = {
            "generators": [dataclasses.asdict(row) for row in generators],
            "loaders": [dataclasses.asdict(loader) for loader in loaders],
            "left_out": left_out,
        }
        write(args.json, json.dumps({**about, **found}, indent=1, ensure_ascii=False) + "\n", "--json")
    return 0


def _measure(cells: "Sequence[Cell]", seconds: float) -> "tuple[list[BenchRow], list[Loader], dict[str, str]]":
    """Measure generators and loaders, with a progress bar; the last are the reasons why loaders could not be."""
    from lra_hgrn.bench.data_loaders import measure_loader
    from lra_hgrn.progress import counter
    from lra_tasks.bench import bench_generators

    loaders, failed = [], {}
    with counter("measured", 1 + len(cells)) as progress:
        progress(0, "generators")
        generators = bench_generators(seconds)
        for done, cell in enumerate(cells, start=1):
            progress(done, cell.name)
            try:
                loaders.append(measure_loader(cell, seconds))
            except UserError as error:
                failed[cell.name] = str(error)
        progress(1 + len(cells), "")
    return generators, loaders, failed


def _print_generators(console: "Console", rows: "Sequence[BenchRow]") -> None:
    from lra_tasks.bench import ORIGINAL_SECONDS

    table = _table("Generators, on one core", ("generator",), ("rate", "unit", "× original"))
    for row in rows:
        table.add_row(row.what, f"{row.rate:,.0f}", row.unit, f"{row.speedup:.0f}" if row.speedup else "–")
    console.print(table)
    times = ", ".join(f"{seconds} s at {side}×{side}" for side, seconds in ORIGINAL_SECONDS.items())
    console.print(f"Original: the public Pathfinder generator on one core of another machine, {times} an image.\n")


def _print_loaders(console: "Console", loaders: "Sequence[Loader]") -> None:
    from lra_hgrn.bench.data_waiting import MOST

    if not loaders:
        return
    figures = ("tokens/s", "batch", "step, ms", "waiting")
    table = _table("Loaders, and a step of training", ("task", "scale", "batches from", "model"), figures)
    for loader in loaders:
        waiting = loader.waiting
        part = "" if waiting.batch_size == waiting.recipe_batch_size else f" of {waiting.recipe_batch_size}"
        table.add_row(
            loader.task,
            loader.scale,
            "GPU memory" if waiting.resident else "files",
            waiting.model,
            f"{loader.rate.rate:,.0f}",
            f"{waiting.batch_size}{part}",
            f"{1e3 * waiting.step_seconds:.2f}",
            f"{waiting.share:.2%}",
        )
    console.print(table)
    console.print("Waiting: share of a step that the host spends until its batch is there.")
    for loader in loaders:
        if loader.waiting.share > MOST:
            console.print(f"{loader.task}: {loader.waiting.share:.1%} of a step is waiting for data, over {MOST:.0%}.")


def _table(title: str, words: Sequence[str], figures: Sequence[str]) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for column in words:
        table.add_column(column, no_wrap=True)
    for column in figures:
        table.add_column(column, justify="right", no_wrap=True)
    return table
