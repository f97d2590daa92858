"""`lra bench data|model|scan`: speed, each figure beside what it has to be compared with, in one run."""

import argparse

from lra_hgrn.cli.bench import data, model, scan

_VERBS = {
    "data": (data, "generators on one core over the original ones' published times; loaders, and what training waits"),
    "model": (model, "training steps and inference of models side by side, at equal numbers of parameters"),
    "scan": (scan, "the kernels, and peers, over a copy of the bytes that each must move"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (verb, summary) in _VERBS.items():
        verb.add_arguments(verbs.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."))


def run(args: argparse.Namespace) -> int:
    return _VERBS[args.verb][0].run(args)
