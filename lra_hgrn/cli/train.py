"""`lra train MODEL TASK`: train one cell."""

import argparse
import os
import sys
from pathlib import Path

from lra_hgrn.cell import compose_cell
from lra_hgrn.cli.arguments import add_cell
from lra_hgrn.config.compose import RUNS, run_name

EXIT = {"finished": 0, "chance": 0, "stopped": 130}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_cell(parser)
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help=f"folder of this run (a name made from the cell, under {RUNS})"
    )
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")


def run(args: argparse.Namespace) -> int:
    config = compose_cell(args.model, args.task, args.overrides).config
    from lra_hgrn.training.profile import FOLDER, TABLE
    from lra_hgrn.training.run import train

    directory = args.output or RUNS / run_name(config)
    record = train(config, directory, resume=args.resume)
    if os.environ.get("RANK", "0") != "0":  # torchrun's: another process of this run tells
        return EXIT.get(record.status, 1)
    if record.message:
        print(record.message, file=sys.stderr)
    if record.scores is not None:
        best = record.scores.best
        print(
            f"{record.model} on {record.task} ({record.scale}, seed {record.seed}): test accuracy "
            f"{100 * best.accuracy:.2f} % [{100 * best.low:.2f}, {100 * best.high:.2f}], best of validation at step "
            f"{best.step}; last {100 * record.scores.last.accuracy:.2f} %; chance {100 * (record.chance or 0):.2f} %"
        )
    table = directory / FOLDER / TABLE
    if config.profile and table.is_file():
        print(f"{table.read_text(encoding='utf-8').partition(chr(10) * 2)[0]}\n{table}")
    print(f"{directory}/record.json")
    return EXIT.get(record.status, 1)
