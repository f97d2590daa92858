"""The contract of every model: what a table of comparisons takes for granted, checked on a model as it stands."""

from lra_hgrn.contract.checks import CHECKS, check_model

__all__ = ["CHECKS", "check_model"]
