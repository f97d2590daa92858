"""Arguments that several subcommands share."""

import argparse
from pathlib import Path

from lra_hgrn.config.compose import RUNS


def add_model(parser: argparse.ArgumentParser) -> None:
    """MODEL"""
    parser.add_argument(
        "model", metavar="MODEL", help="a name in configs/models, a .yaml file of yours, or a class's dotted path"
    )


def add_cell(parser: argparse.ArgumentParser) -> None:
    """MODEL TASK [key=value ...]"""
    add_model(parser)
    parser.add_argument(
        "task",
        metavar="TASK",
        help="a name in configs/tasks, a .yaml file of yours, a class's dotted path, or a folder of arrays",
    )
    add_overrides(parser)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """[key=value ...]"""
    parser.add_argument(
        "overrides", metavar="key=value", nargs="*", help="options over those of the files, e.g. optim.lr=1e-3 seed=2"
    )


def add_suite(parser: argparse.ArgumentParser) -> None:
    """SUITE [key=value ...] [--runs DIR]"""
    parser.add_argument("suite", metavar="SUITE", help="a name in configs/suites, or a .yaml file of yours")
    add_overrides(parser)
    parser.add_argument("--runs", type=Path, default=RUNS, metavar="DIR", help=f"folder of the runs ({RUNS})")
