"""`lra check [SUITE]`: exit 1 if a change made a model worse, slower or larger than the baseline or another commit."""

import argparse
import math
from pathlib import Path

from lra_hgrn.cli.arguments import add_choice, add_overrides


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "suite", nargs="?", default="regression", metavar="SUITE", help="a name in configs/suites, or a .yaml file"
    )
    add_overrides(parser)
    add_choice(parser)
    parser.add_argument(
        "--against", metavar="REF", help="compare speed and memory with this Git commit, in turns on this machine"
    )
    parser.add_argument(
        "--slower", type=float, metavar="SHARE", help="share by which a step may take longer than REF's (0.05)"
    )
    parser.add_argument("--update", metavar="REASON", help="write a new baseline, of all seeds, with this reason")
    parser.add_argument("--baseline", type=Path, metavar="FILE", help="the baseline (results/baselines/<suite>.json)")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("results") / "check",
        metavar="DIR",
        help="folder for runs, check.json, junit.xml and summary.md (results/check)",
    )


def run(args: argparse.Namespace) -> int:
    import sys

    from lra_hgrn.errors import UserError
    from lra_hgrn.gate.baseline import FOLDER, load_baseline
    from lra_hgrn.progress import counter
    from lra_hgrn.suite import load_suite

    if args.update is not None and (args.against or args.task or args.model):
        raise UserError("--update measures the whole suite here: leave --against, --task and --model out.")
    if args.update is not None and not args.update.strip():
        raise UserError("--update takes the reason why the baseline changes, in one sentence.")
    if args.slower is not None and not (args.against and 0 <= args.slower < math.inf):
        raise UserError("--slower takes a share such as 0.05, and goes with --against.")
    words = [args.suite, *args.overrides] if "=" in args.suite else args.overrides
    suite = load_suite("regression" if "=" in args.suite else args.suite, words, args.task, args.model)
    path = args.baseline or FOLDER / f"{suite.name}.json"
    baseline = None if args.update is not None else load_baseline(path)
    from lra_hgrn.gate import gate, judge, output
    from lra_hgrn.results.tables.render import to_terminal

    if baseline is None:
        with counter("cells", len(suite.jobs)) as progress:
            gate.update(suite, args.update.strip(), args.output, progress).save(path)
        print(path)
        return 0
    with counter("cells", len(suite.keys)) as progress:
        slower = judge.SPEED if args.slower is None else args.slower
        outcome = gate.check(suite, baseline, args.against, args.output, progress, slower)
    output.write(outcome, args.output)
    print(to_terminal(output.check_table(outcome)).rstrip("\n"))
    print(f"{args.output / output.FILES[-1]}", file=sys.stderr)
    if outcome.regressions:
        return 1
    if not any(one.kind == "speed" and one.verdict == "passed" for one in outcome.findings):
        raise UserError(f"The speed of no cell could be compared with {outcome.against}; see {args.output}.")
    return 0
