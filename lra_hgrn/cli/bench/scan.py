"""`lra bench scan`: the kernels, and peers, over a copy of the bytes that each must move."""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lra_hgrn.cli.bench.output import check_plot, check_writable, draw, measured_on, write
from lra_hgrn.errors import UserError

if TYPE_CHECKING:
    import torch
    from rich.console import Console
    from rich.table import Table

    from hgrn_kernels.bench import Row
    from lra_hgrn.bench.scan_sweep import Growth

_LENGTHS = (256, 1024, 4096, 16384, 65536)
_BATCH, _WIDTH = (4,), (64,)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("cpu", "cuda"), help="where to measure (cuda if there is a GPU, else cpu)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write all figures and what they were measured on"
    )
    group = parser.add_argument_group(
        "sweep", "with any of these the scans alone are measured, over lengths, in place of all kernels on a few shapes"
    )
    for option, default, meaning in (
        ("--lengths", _LENGTHS, "steps of a sequence"),
        ("--batch", _BATCH, "sequences"),
        ("--width", _WIDTH, "channels"),
    ):
        shown = " ".join(map(str, default))
        group.add_argument(option, type=int, nargs="+", metavar="N", help=f"{meaning}, one or more values ({shown})")
    group.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw time against length, with fitted exponents (.png, .pdf or .svg)"
    )


def run(args: argparse.Namespace) -> int:
    import torch
    from rich.console import Console

    from hgrn_kernels import bench
    from lra_hgrn.training import environment

    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda, but torch sees no GPU here; use --device cpu.")
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cpu":
        environment.keep_freed_memory()  # as training does
    about = {
        **measured_on(device),
        "dtype": str(bench.DTYPES[device.type]).removeprefix("torch."),
        "absent": {name: found for name, found in bench.libraries(device.type).items() if isinstance(found, str)},
    }
    if (about["backend"], device.type) == ("triton", "cpu"):
        raise UserError("Triton's kernels are interpreted on a CPU, and such times say nothing: unset HGRN_BACKEND.")
    swept = any(values is not None for values in (args.lengths, args.batch, args.width, args.plot))
    shapes = _shapes(args, device) if swept else []
    if args.json is not None:
        check_writable(args.json, "--json")
    if args.plot is not None:
        check_plot(args.plot)
    console = Console(highlight=False, markup=False)
    console.width = max(console.width, 120)  # in a file, too, nothing is cut off
    console.print(
        f"{about['device']}; {about['dtype']}; backend {about['backend']}. Times in milliseconds, beside them"
    )
    console.print("a copy of the bytes that must at least be moved, and the ratio of the medians.")
    found = _sweep(shapes, device, console, args.plot, about) if swept else _fixed_shapes(device, console)
    for name, reason in about["absent"].items():
        console.print(f"absent: {name}, {reason}")
    if args.json is not None:
        write(args.json, json.dumps({**about, **found}, indent=1, ensure_ascii=False) + "\n", "--json")
    return 0


def _shapes(args: argparse.Namespace, device: "torch.device") -> list[tuple[int, int, int]]:
    """Return the shapes of a sweep; a UserError for numbers that cannot be."""
    from hgrn_kernels import bench
    from lra_hgrn.bench.scan_sweep import check_memory, shapes_of
    from lra_hgrn.training import environment

    shapes = shapes_of(args.lengths or _LENGTHS, args.batch or _BATCH, args.width or _WIDTH)
    check_memory(shapes, bench.DTYPES[device.type], environment.memory_size())
    return shapes


def _fixed_shapes(device: "torch.device", console: "Console") -> dict[str, Any]:
    """Measure and print all kernels and peers on a few shapes; return the rows."""
    from hgrn_kernels import bench

    rows = []
    for task, shape in bench.SHAPES[device.type].items():
        measured = bench.measure(shape, device)
        console.print(_table(f"{task}: {' × '.join(map(str, shape))}", measured))
        rows += [{"task": task, **dataclasses.asdict(row)} for row in measured]
    return {"rows": rows}


def _sweep(
    shapes: Sequence[tuple[int, int, int]],
    device: "torch.device",
    console: "Console",
    plot: Path | None,
    about: dict[str, Any],
) -> dict[str, Any]:
    """Measure the scans over lengths, print and draw them; return the rows and the exponents."""
    from lra_hgrn.bench.scan_sweep import growths, sweep
    from lra_hgrn.progress import counter

    with counter("shapes", len(shapes)) as progress:
        measured = list(sweep(shapes, device, progress))
    for rows in measured:  # a progress bar and tables would spoil each other
        console.print(_table(f"batch × length × width: {' × '.join(map(str, rows[0].shape))}", rows))
    grown = growths([row for rows in measured for row in rows])
    console.print(_exponents(grown))
    if plot is not None:
        from lra_hgrn.bench.scan_plot import time_against_length

        draw(plot, time_against_length(grown, f"{about['device']}; {about['dtype']}; threads: {about['threads']}"))
    return {
        "rows": [dataclasses.asdict(row) for rows in measured for row in rows],
        "exponents": [dataclasses.asdict(one) for one in grown],
    }


def _table(title: str, rows: "Sequence[Row]") -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    table.add_column("kernel or peer")  # with the reason where there are no times
    table.add_column("pass", no_wrap=True)
    for column in ("min", "¼", "median", "¾", "copy", "ratio"):
        table.add_column(column, justify="right", no_wrap=True)
    for i, row in enumerate(rows):
        if i and row.peer != rows[i - 1].peer:
            table.add_section()
        if row.time is None or row.copy is None or row.ratio is None:
            table.add_row(f"{row.name}: {row.note}", row.passes, *["–"] * 6)
            continue
        time = row.time
        figures = (time.min, time.quartile1, time.median, time.quartile3, row.copy.median)
        table.add_row(row.name, row.passes, *(f"{x:.3f}" for x in figures), f"{row.ratio:.2f}")
    return table


def _exponents(grown: "Sequence[Growth]") -> "Table":
    from rich import box
    from rich.table import Table

    title = "Time ∝ length^a over the lengths measured, and the ratio to the copy at the shortest and the longest"
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for column in ("batch × width", "kernel or peer", "pass"):
        table.add_column(column, no_wrap=True)
    for column in ("a", "shortest", "ratio", "longest", "ratio"):
        table.add_column(column, justify="right", no_wrap=True)
    for i, one in enumerate(grown):
        if i and (one.batch, one.width, one.passes) != (grown[i - 1].batch, grown[i - 1].width, grown[i - 1].passes):
            table.add_section()
        ends = [
            text
            for place in (0, -1)
            for text in ((f"{one.lengths[place]:,}", f"{one.ratios[place]:.2f}") if one.lengths else ("–", "–"))
        ]
        fitted = "–" if one.exponent is None else f"{one.exponent:.2f}"
        table.add_row(f"{one.batch} × {one.width}", one.name, one.passes, fitted, *ends)
    return table
