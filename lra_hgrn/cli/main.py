"""Parse the command line and run one subcommand."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from lra_hgrn import __version__
from lra_hgrn.errors import BUSY, Busy, Stopped, UserError, nearest
from lra_tasks.errors import TaskError

COMMANDS = {
    "train": "train one cell: a model on a task",
    "sweep": "run the missing cells of a suite",
    "tune": "search for the hyper-parameters of a cell, on its validation split",
    "estimate": "measure for a moment what the missing cells of a suite take here, and print the plan",
    "reproduce": "run a paper's table, or one model's published cells, and set it beside what was published",
    "table": "print the comparison table of a suite",
    "compare": "test which differences between the models of a suite are more than noise",
    "report": "write a suite's results as one HTML page, or into a Markdown page",
    "figures": "write every figure that a suite's results support as a file",
    "inspect": "show what a trained model learnt: its forget gates, and what its decisions depend on",
    "results": "list, show, export, import and verify the records of runs",
    "clean": "show what takes space on the disk, and free it",
    "config": "print a cell's configuration and where each value comes from",
    "models": "list the models: family, paper, causality, growth, size on each task",
    "data": "prepare, describe and show the data of a task",
    "check-task": "hold a task, ours or yours, to the contract of every task",
    "check-model": "hold a model, ours or yours, to the contract of every model",
    "check": "exit 1 if a change made a model worse, slower or larger",
    "bench": "measure speed, side by side in one run",
    "info": "print versions, devices and kernel backends",
}


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a wrong word in one sentence."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message[0].upper()}{message[1:]}; see `{self.prog} --help`.")


def parser_for(command: str | None) -> argparse.ArgumentParser:
    """Build the parser; only the subcommand in use loads its module."""
    parser = Parser(prog="lra", description="The Long Range Arena benchmark for HGRN and other sequence models.")
    parser.add_argument("--version", action="version", version=f"lra-hgrn {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name, summary in COMMANDS.items():
        sub = subparsers.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name == command:
            _module(name).add_arguments(sub)
    return parser


def dispatch(argv: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors are raised."""
    args = parse(argv)
    return _module(args.command).run(args)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read one command line."""
    command = next((word for word in argv if not word.startswith("-")), None)
    if command is not None and command not in COMMANDS:
        raise UserError(f"Unknown command {command!r}.{nearest(command, COMMANDS)} See `lra --help`.")
    args, rest = parser_for(command).parse_known_args(argv)
    if rest:
        # argparse takes one run of positional words: overrides, or names of runs, after an option come back here.
        more = getattr(args, "overrides", getattr(args, "run", None))
        pairs = hasattr(args, "overrides")
        if not isinstance(more, list) or any(word.startswith("-") or (pairs and "=" not in word) for word in rest):
            raise UserError(f"Unrecognized words: {' '.join(rest)}; see `lra {args.command} --help`.")
        more += rest
    return args


def _module(command: str) -> Any:
    return importlib.import_module(f"lra_hgrn.cli.{command.replace('-', '_')}")


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the command `lra`.

    Exit codes: 0; 1, something in the results is wrong; 2, bad input; 75, another process is at work on the run; 130,
    stopped.
    """
    try:
        code = dispatch(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except BrokenPipeError:  # `lra table demo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        code = 130
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        code = 130
    except (UserError, TaskError) as error:
        print(f"lra: {error}", file=sys.stderr)
        code = BUSY if isinstance(error, Busy) else 2
    sys.exit(code)
