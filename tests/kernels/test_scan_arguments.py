"""The choice of a backend, and one clear sentence for every wrong argument."""

import pytest
import torch

from hgrn_kernels import _scan, available_backends, backend_for, scan


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv("HGRN_BACKEND", raising=False)


def zeros(*shape, **options):
    return torch.zeros(shape, **options)


def test_backends_and_their_choice(monkeypatch):
    assert available_backends() == {"cpu": "ready", "reference": "ready"}
    assert backend_for(zeros(1)) == backend_for("cpu") == "cpu"
    assert backend_for(torch.device("cuda")) == backend_for("cuda:1") == backend_for("meta") == "reference"
    assert backend_for("cpu", "reference") == "reference"
    monkeypatch.setenv("HGRN_BACKEND", "reference")
    assert backend_for("cpu") == "reference"
    assert backend_for("cpu", "cpu") == "cpu", "the argument goes before the environment"
    monkeypatch.setenv("HGRN_BACKEND", "auto")
    assert backend_for("cpu") == "cpu"


def test_scan_calls_the_chosen_backend(monkeypatch):
    called = []

    def record(*arguments):
        called.append(arguments)
        return zeros(1, 1, 1), zeros(1, 1)

    monkeypatch.setitem(_scan._BACKENDS, "reference", _scan.Backend(record, device=None, package=None))
    x = zeros(1, 1, 1)
    scan(x, x, backend="reference")
    monkeypatch.setenv("HGRN_BACKEND", "reference")
    scan(x, x, reverse=True)
    assert [arguments[-1] for arguments in called] == [False, True]
    assert scan(x, x, backend="cpu").shape == (1, 1, 1)
    assert len(called) == 2


def test_unknown_or_unfit_backends(monkeypatch):
    with pytest.raises(ValueError, match=r"^backend is 'gpu'; choose one of: auto, cpu, reference\.$"):
        scan(zeros(1, 1, 1), zeros(1, 1, 1), backend="gpu")
    with pytest.raises(ValueError, match=r"^backend is 'cpu', which runs on cpu tensors only, but x is on cuda:0; "):
        backend_for("cuda:0", "cpu")
    with pytest.raises(ValueError, match="x is on meta; move the tensors or choose 'auto' or 'reference'"):
        scan(zeros(1, 1, 1, device="meta"), zeros(1, 1, 1, device="meta"), backend="cpu")
    monkeypatch.setenv("HGRN_BACKEND", "numba")
    with pytest.raises(ValueError, match=r"^HGRN_BACKEND is 'numba'; choose one of: auto, cpu, reference\.$"):
        scan(zeros(1, 1, 1), zeros(1, 1, 1))


def test_without_numba_the_reference_takes_over(monkeypatch):
    monkeypatch.setattr(_scan, "_MISSING", {"cpu": "numba"})
    assert available_backends()["cpu"] == "numba is not installed: pip install numba"
    assert backend_for("cpu") == "reference"
    with pytest.raises(ValueError, match=r"^backend is 'cpu', but numba is not installed: pip install numba\.$"):
        backend_for("cpu", "cpu")


GATE = zeros(2, 5, 3)


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (TypeError, "x must be a torch.Tensor, not list", {"x": [1.0], "gate": GATE}),
        (TypeError, "gate must be a torch.Tensor, not NoneType", {"x": GATE, "gate": None}),
        (TypeError, "x is complex; pass real tensors", {"x": zeros(2, 5, 3, dtype=torch.complex64), "gate": GATE}),
        (TypeError, "gate has dtype torch.int64; convert", {"x": GATE, "gate": GATE.long()}),
        (ValueError, r"gate must have shape \(batch, length, channels\), not \(5, 3\)", {"x": GATE, "gate": GATE[0]}),
        (ValueError, "gate must have shape", {"x": zeros(2, 5, 0), "gate": zeros(2, 5, 0)}),
        (ValueError, r"x must have shape \(2, 5, 3\) or, as two planes, \(2, 5, 6\)", {"x": GATE[:, :4], "gate": GATE}),
        (ValueError, r"not \(2, 5, 4\)", {"x": zeros(2, 5, 4), "gate": GATE}),
        (ValueError, "x must have shape", {"x": GATE[0], "gate": GATE}),
        (ValueError, "pass x as two planes", {"x": GATE, "gate": GATE, "theta": zeros(3)}),
        (
            ValueError,
            r"theta must have shape \(3,\), not \(6,\)",
            {"x": zeros(2, 5, 6), "gate": GATE, "theta": zeros(6)},
        ),
        (
            ValueError,
            r"initial_state must have shape \(2, 6\), not \(2, 3\)",
            {"x": zeros(2, 5, 6), "gate": GATE, "initial_state": zeros(2, 3)},
        ),
        (ValueError, "gate is on meta but x is on cpu; move them", {"x": GATE, "gate": GATE.to("meta")}),
        (
            ValueError,
            "initial_state is on meta but x is on cpu",
            {"x": GATE, "gate": GATE, "initial_state": zeros(2, 3, device="meta")},
        ),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(error, message, arguments):
    with pytest.raises(error, match=message) as raised:
        scan(**arguments)
    assert str(raised.value).endswith(".")
    assert "\n" not in str(raised.value)
