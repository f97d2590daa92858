"""The gated linear recurrence of HGRN and what is fused around it, as functions over several backends."""

from hgrn_kernels._backends import available_backends, backend_for
from hgrn_kernels._functions import gated_norm, hgru, hgru2d, scan

__all__ = ["available_backends", "backend_for", "gated_norm", "hgru", "hgru2d", "scan"]
