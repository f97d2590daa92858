"""`lra check-model MODEL`: a model, ours or a user's own, held to the contract of every model."""

import argparse

from lra_hgrn.cli.arguments import add_model, add_overrides
from lra_hgrn.cli.findings import conclude, show

_SIZE = {"d_model": 16, "layers": 2}  # small: what is checked depends on no width


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_overrides(parser)
    parser.add_argument(
        "--without", metavar="CHECK", action="append", default=[], help="a check to leave out, by name; may be repeated"
    )
    parser.epilog = "The width is 16, and there are two layers, unless model.d_model and model.layers say otherwise."
    parser.add_argument("--device", default="cpu", help="cpu or cuda (cpu)")


def run(args: argparse.Namespace) -> int:
    from lra_hgrn.config.compose import compose_model
    from lra_hgrn.errors import UserError

    config = compose_model(args.model, args.overrides, _SIZE)
    import torch

    from lra_hgrn.contract import check_model

    try:
        torch.empty(0, device=args.device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {args.device} cannot be used: {str(error).splitlines()[0]}") from None
    return conclude(args.model, check_model(config, device=args.device, without=args.without, report=show))
