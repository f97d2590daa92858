"""The gated linear recurrence of HGRN, h_t = gate_t · e^{iθ} · h_{t-1} + x_t, one function over several backends."""

from hgrn_kernels._scan import available_backends, backend_for, scan

__all__ = ["available_backends", "backend_for", "scan"]
