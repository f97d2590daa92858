"""`lra config MODEL TASK`: the resolved configuration of a cell, with the origin of each value."""

import argparse
import json

from lra_hgrn.cell import compose_cell
from lra_hgrn.cli.arguments import add_cell
from lra_hgrn.config.compose import option_keys, plain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_cell(parser)
    parser.add_argument("--describe", action="store_true", help="add the help and the unit of each option")


def run(args: argparse.Namespace) -> int:
    composed = compose_cell(args.model, args.task, args.overrides)
    rows = []
    for key, origin in composed.origins.items():
        node: object = plain(composed.config)
        for part in key.split("."):
            node = node[part]  # type: ignore[index]
        item = option_keys().get(key)
        unit = item.metadata["unit"] if item and item.metadata["unit"] else ""
        text = item.metadata["help"] if item else "Keyword argument of model.target's constructor."
        rows.append((key, json.dumps(node, ensure_ascii=False), origin, unit, text))
    rows.sort(
        key=lambda row: (
            list(option_keys()).index("model.kwargs")
            if row[0].startswith("model.kwargs")
            else list(option_keys()).index(row[0]),
            row[0],
        )
    )
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for key, value, origin, unit, text in rows:
        print(f"{key:{widths[0]}} = {value:{widths[1]}}  # {origin}")
        if args.describe:
            print(f"    {text}{f' [{unit}]' if unit else ''}")
    return 0
