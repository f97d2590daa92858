"""`lra check-task TASK`: a task, ours or a user's own, held to the contract of every task."""

import argparse

from lra_hgrn.cli.arguments import add_overrides
from lra_hgrn.cli.findings import conclude, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "task",
        metavar="TASK",
        help="a name in configs/tasks, a .yaml file of yours, a class's dotted path, or a folder of arrays; it is "
        "built four times in a folder that goes again, at its smallest scale unless task.scale is given",
    )
    add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    from lra_hgrn.config.compose import compose_task
    from lra_hgrn.config.schema import TaskConfig
    from lra_hgrn.imports import search_current_folder
    from lra_tasks import get_task
    from lra_tasks.contract import check_task

    options = compose_task(args.task, args.overrides).task
    search_current_folder()
    given = {word.partition("=")[0] for word in args.overrides}

    def chosen(key: str) -> str | None:
        value = getattr(options, key)
        return value if f"task.{key}" in given or value != getattr(TaskConfig, key) else None

    found = check_task(
        get_task(options.name),
        scale=chosen("scale"),
        source=options.source,
        protocol=chosen("protocol"),
        data_dir=options.data_dir,
        report=show,
    )
    return conclude(options.name, found)
