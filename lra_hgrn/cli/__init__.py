"""The command `lra`: one module a subcommand, each with `add_arguments(parser)` and `run(args) -> exit code`.

Nothing at the top of these modules imports torch, so that `lra --help` and a mistyped command answer at once.
"""
