"""`lra bench scan`: the kernels, and peers, over a copy of the bytes that each must move."""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lra_hgrn.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from hgrn_kernels.bench import Row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("cpu", "cuda"), help="where to measure (cuda if there is a GPU, else cpu)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write all figures and what they were measured on"
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
    if args.json is not None:
        _write(args.json, None)
    about: dict[str, Any] = {
        "device": environment.device_name(device),
        "backend": environment.kernel_backend(device),
        "dtype": str(bench.DTYPES[device.type]).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": environment.git_commit(),
        "versions": environment.versions(),
        "absent": {name: found for name, found in bench.libraries(device.type).items() if isinstance(found, str)},
    }
    console = Console(highlight=False, markup=False)
    console.width = max(console.width, 120)  # in a file, too, nothing is cut off
    console.print(
        f"{about['device']}; {about['dtype']}; backend {about['backend']}. Times in milliseconds, beside them"
    )
    console.print("a copy of the bytes that must at least be moved, and the ratio of the medians.")
    rows = []
    for task, shape in bench.SHAPES[device.type].items():
        measured = bench.measure(shape, device)
        console.print(_table(f"{task}: {' × '.join(map(str, shape))}", measured))
        rows += [{"task": task, **dataclasses.asdict(row)} for row in measured]
    for name, reason in about["absent"].items():
        console.print(f"absent: {name}, {reason}")
    if args.json is not None:
        _write(args.json, json.dumps({**about, "rows": rows}, indent=1, ensure_ascii=False) + "\n")
    return 0


def _write(path: Path, content: str | None) -> None:
    """Write the file; without content only make its folder, before the time for measuring is spent."""
    from lra_hgrn.results.files import write_whole

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            write_whole(path, content)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}; choose another --json.") from None


def _table(title: str, rows: "Sequence[Row]") -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for column in ("kernel or peer", "pass"):
        table.add_column(column, no_wrap=True)
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
