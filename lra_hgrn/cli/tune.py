"""`lra tune MODEL TASK`: search for the hyper-parameters of a cell."""

import argparse
from pathlib import Path

from lra_hgrn.cli.arguments import add_cell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_cell(parser)
    parser.add_argument(
        "--space",
        action="append",
        default=[],
        metavar="KEY=SPEC",
        help="search an option: log:1e-4:1e-2, uniform:0:0.3, int:1:8 or choice:0,0.01,0.1; may be repeated",
    )
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="trials, failed ones included (20)")
    parser.add_argument("--epochs", type=int, metavar="E", help="passes over the training split in each (the cell's)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="seed of the proposals (1)")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder of the search (a name made from it, under results/tune)"
    )


def run(args: argparse.Namespace) -> int:
    from lra_hgrn.tuning.plan import make_plan

    plan = make_plan(
        args.model,
        args.task,
        args.overrides,
        space=args.space,
        trials=args.trials,
        epochs=args.epochs,
        seed=args.seed,
    )
    directory = args.output or plan.directory
    from lra_hgrn.cli.table import default_format
    from lra_hgrn.results.tables.render import RENDERERS
    from lra_hgrn.tuning.outcome import MODEL, best_table
    from lra_hgrn.tuning.search import tune

    trials = tune(plan, directory)
    print(RENDERERS[default_format()](best_table(plan, trials)).rstrip("\n"))
    print(directory / MODEL)
    return 0
