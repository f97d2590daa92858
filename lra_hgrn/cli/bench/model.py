"""`lra bench model`: training steps and inference of models side by side, at equal numbers of parameters."""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lra_hgrn.cli.bench.output import check_plot, check_writable, draw, measured_on, write
from lra_hgrn.errors import UserError

if TYPE_CHECKING:
    from lra_hgrn.bench.model import Row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="MODEL|key=value",
        help="models as `lra train` takes them (hgrn), with softmax attention always beside them, and options",
    )
    parser.add_argument(
        "--task", action="append", metavar="TASK", help="shape of the input (all six; with --lengths listops)"
    )
    parser.add_argument("--lengths", nargs="+", metavar="L", help="measure tokens of these lengths, and fit the growth")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every turn, and what it was measured on")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw cost against --lengths (.png, .pdf or .svg)")
    parser.epilog = (
        "Batches are random and of the task's full length. Their size is that of HGRN's recipe on a GPU and 1 on a "
        "CPU, unless train.batch_size says another. Widths are fitted to the parameters of HGRN under the same "
        "options, unless model.d_model or model.match is given."
    )


def run(args: argparse.Namespace) -> int:
    from lra_hgrn.bench import model
    from lra_hgrn.bench.model_tables import growth_table, remarks, rows_table
    from lra_hgrn.config.compose import names as names_of
    from lra_hgrn.progress import counter
    from lra_hgrn.results.tables.render import to_terminal

    _read_lengths(args)
    _check(args)
    overrides = [word for word in args.overrides if "=" in word]
    models = [word for word in args.overrides if "=" not in word] or [model.REFERENCE]
    tasks = list(dict.fromkeys(args.task or [])) or (["listops"] if args.lengths else names_of("tasks"))
    shapes = [(task, length) for task in tasks for length in sorted(set(args.lengths or [])) or [None]]
    composed = [model.entries(models, task, overrides, length) for task, length in shapes]
    said = list(dict.fromkeys(sentence for _, sentences in composed for sentence in sentences))
    taken = {one.row.word for entered, _ in composed for one in entered}
    for word in models:
        if word not in taken:
            raise UserError(f"Nothing that is to be measured takes {word}. {' '.join(said)}")
    about = _measured_on(overrides)
    rows: list[Row] = []
    with counter("turns", model.TURNS * len(shapes)) as progress:
        for number, ((task, length), (entered, _)) in enumerate(zip(shapes, composed, strict=True)):
            progress(model.TURNS * number, task if length is None else f"{task}, {length:,} steps")
            for done in model.measure(entered, model.TURNS, model.SECONDS):
                progress(model.TURNS * number + done, task if length is None else f"{task}, {length:,} steps")
            rows += [one.row for one in entered]
    name = about["device"]
    tables = [
        rows_table([row for row in rows if row.task == task], name) for task in dict.fromkeys(r.task for r in rows)
    ]
    tables[-1].remarks = remarks(said)
    print("\n".join(map(to_terminal, tables)).rstrip("\n"))
    names = list(dict.fromkeys(row.model for row in rows))
    if args.lengths and len(set(args.lengths)) > 1:
        print("\n" + to_terminal(growth_table(rows, names, name)).rstrip("\n"))
    if args.plot is not None:
        from lra_hgrn.bench.model_plot import cost_of_models

        draw(args.plot, cost_of_models(rows, names, tables[0].caption))
    if args.json is not None:
        found = {**about, "options": overrides, "rows": [dataclasses.asdict(row) for row in rows]}
        write(args.json, json.dumps(found, indent=1, ensure_ascii=False) + "\n", "--json")
    return 0


def _read_lengths(args: argparse.Namespace) -> None:
    """Turn the words behind --lengths into numbers; argparse also gives it the options that stand there."""
    words = args.lengths or []
    args.overrides += [word for word in words if "=" in word]
    words = [word for word in words if "=" not in word]
    for word in words:
        if not word.isdecimal():
            raise UserError(f"--lengths takes numbers of steps from 1 on, not {word}.")
    args.lengths = [int(word) for word in words]


def _check(args: argparse.Namespace) -> None:
    if args.lengths and min(args.lengths) < 1:
        raise UserError(f"--lengths takes numbers of steps from 1 on, not {min(args.lengths)}.")
    if args.lengths and len(args.task or []) > 1:
        raise UserError("--lengths takes the inputs of one task: give --task once.")
    if args.plot is not None and len(set(args.lengths or [])) < 2:
        raise UserError("--plot draws cost against the length: give two --lengths or more.")
    if args.plot is not None:
        check_plot(args.plot)
    if args.json is not None:
        check_writable(args.json, "--json")


def _measured_on(overrides: Sequence[str]) -> dict[str, Any]:
    """Return what the workers will be measured on; a UserError where the kernels cannot be measured there."""
    from lra_hgrn.config.compose import parse_overrides
    from lra_hgrn.training import environment

    training = parse_overrides(overrides).get("train", {})
    device = environment.compute_device(training.get("accelerator", "auto"))
    about = measured_on(device)
    if (about["backend"], device.type) == ("triton", "cpu"):
        raise UserError("Triton's kernels are interpreted on a CPU, and such times say nothing: unset HGRN_BACKEND.")
    return {**about, "threads": environment.thread_count(training.get("threads", 0))}
