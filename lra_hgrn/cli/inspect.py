"""`lra inspect RUN`: what a trained model learnt."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run, as `lra train` prints it")
    parser.add_argument("--split", choices=("test", "val"), default="test", help="where samples are taken from (test)")
    parser.add_argument(
        "--samples", type=int, default=64, metavar="N", help="samples whose gates are read, over all the split (64)"
    )
    parser.add_argument(
        "--sample",
        type=int,
        nargs="+",
        metavar="INDEX",
        help="samples of the split whose decision is shown, position by position (the first two)",
    )
    parser.add_argument("--checkpoint", choices=("best", "last"), default="best", help="whose weights (best)")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of prepared tasks (that of the run)")


def run(args: argparse.Namespace) -> int:
    from lra_hgrn.inspection.record import FILE, FOLDER, growth, table
    from lra_hgrn.inspection.run import inspect_run

    found = inspect_run(
        args.run,
        split=args.split,
        samples=args.samples,
        shown=args.sample,
        checkpoint=args.checkpoint,
        data_dir=args.data_dir,
    )
    for line in [*table(found), growth(found), *found.remarks]:
        if line:
            print(line)
    for picture in found.pictures:
        print(args.run / FOLDER / picture.file)
    print(args.run / FOLDER / FILE)
    return 0
