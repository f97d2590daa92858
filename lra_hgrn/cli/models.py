"""`lra models`: every model with its family, paper, causality, growth, and size on each task."""

import argparse

from lra_hgrn.cli.table import add_format, default_format


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", metavar="MODEL", nargs="*", help="names in configs/models, or files (all of the former)"
    )
    parser.add_argument("--match", metavar="MODEL", help="sizes with model.match=MODEL instead of each recipe's")
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    from lra_hgrn.catalogue import catalogue
    from lra_hgrn.results.tables.render import RENDERERS

    print(RENDERERS[args.format or default_format()](catalogue(args.models, args.match)).rstrip("\n"))
    return 0
