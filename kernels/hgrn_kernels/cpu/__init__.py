"""The CPU backend: kernels that numba compiles, run on torch's own threads.

numba is imported when the first kernel is launched.
"""

from hgrn_kernels.cpu.norm import gated_norm
from hgrn_kernels.cpu.recurrence import recurrence

__all__ = ["gated_norm", "recurrence"]
