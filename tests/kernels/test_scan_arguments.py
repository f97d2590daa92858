"""The choice of a backend, and one clear sentence for every wrong argument.

These hold with and without TRITON_INTERPRET=1, which makes `triton` a backend of CPU tensors.
"""

import inspect

import pytest
import torch

from hgrn_kernels import _backends, available_backends, backend_for, gated_norm, hgru, hgru2d, scan, triton

NAMES = ["cpu", "triton", "reference"]
INTERPRETED = triton.device_type() == "cpu"


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv("HGRN_BACKEND", raising=False)


def zeros(*shape, **options):
    return torch.zeros(shape, **options)


# What each function takes; the tests below change one thing in it.
VALID = {
    scan: {
        "x": zeros(2, 5, 6),
        "gate": zeros(2, 5, 3),
        "theta": zeros(3),
        "initial_state": zeros(2, 6),
    },
    hgru: {
        "candidate": zeros(2, 5, 6),
        "forget": zeros(2, 5, 3),
        "lower_bound": zeros(3),
        "theta": zeros(3),
        "bidirectional": False,
        "lengths": torch.tensor([5, 0]),
        "initial_state": zeros(2, 6),
    },
    hgru2d: {
        "candidate": zeros(2, 4, 5, 6),
        "forget": zeros(2, 4, 5, 3),
        "lower_bound": zeros(3),
        "theta": zeros(4, 3),
    },
    gated_norm: {"h": zeros(2, 5, 6), "gate": zeros(2, 5, 6), "weight": zeros(6), "bias": zeros(6)},
}


def test_backends_and_their_choice(monkeypatch):
    monkeypatch.setattr(_backends, "_MISSING", {})
    states = available_backends()
    assert list(states) == NAMES
    assert states["cpu"] == states["reference"] == "ready"
    ready = INTERPRETED or torch.cuda.is_available()
    assert states["triton"] == ("ready" if ready else "no GPU is visible to torch")
    assert backend_for(zeros(1)) == backend_for("cpu") == "cpu"
    on_gpu = "reference" if INTERPRETED else "triton"
    assert backend_for(torch.device("cuda")) == backend_for("cuda:1") == on_gpu
    assert backend_for("meta") == "reference"
    assert backend_for("cpu", "reference") == "reference"
    monkeypatch.setenv("HGRN_BACKEND", "reference")
    assert backend_for("cpu") == "reference"
    assert backend_for("cpu", "cpu") == "cpu", "the argument goes before the environment"
    monkeypatch.setenv("HGRN_BACKEND", "auto")
    assert backend_for("cpu") == "cpu"


@pytest.mark.parametrize("function", VALID)
def test_the_chosen_backend_is_called(function, monkeypatch):
    called = []

    def backend(name):
        def norm(h, *_):
            called.append(name)
            return h

        def recurrence(x, *_):
            called.append(name)
            return x, x.new_empty(0)

        return _backends.Backend(recurrence, norm, device=None, package=None)

    for name in NAMES:
        monkeypatch.setitem(_backends.BACKENDS, name, backend(name))
    for name in NAMES:
        function(**VALID[function], backend=name)
    monkeypatch.setenv("HGRN_BACKEND", "triton")
    function(**VALID[function])
    function(**VALID[function], backend="reference")
    assert called == [*NAMES, "triton", "reference"]


@pytest.mark.parametrize("function", VALID)
def test_unknown_or_unfit_backends(function, monkeypatch):
    arguments = VALID[function]
    with pytest.raises(ValueError, match=r"^backend is 'gpu'; choose one of: auto, cpu, triton, reference\.$"):
        function(**arguments, backend="gpu")
    away = {k: v.to("meta") if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    unfit = "which runs on cpu tensors only, but these are on meta; move the tensors or choose 'auto' or 'reference'"
    with pytest.raises(ValueError, match=rf"^backend is 'cpu', {unfit}\.$"):
        function(**away, backend="cpu")
    monkeypatch.setenv("HGRN_BACKEND", "cpu")
    with pytest.raises(ValueError, match=rf"^HGRN_BACKEND is 'cpu', {unfit}\.$"):
        function(**away)
    monkeypatch.setenv("HGRN_BACKEND", "numba")
    with pytest.raises(ValueError, match=r"^HGRN_BACKEND is 'numba'; choose one of: auto, cpu, triton, reference\.$"):
        function(**arguments)


def test_triton_runs_on_its_one_type_of_device(monkeypatch):
    monkeypatch.setattr(_backends, "_MISSING", {})
    here, elsewhere = triton.device_type(), "cuda:1" if INTERPRETED else "cpu"
    assert backend_for(here, "triton") == "triton"
    with pytest.raises(ValueError, match=f"^backend is 'triton', which runs on {here} tensors .* are on {elsewhere};"):
        backend_for(elsewhere, "triton")


def test_float64_is_computed_in_float64_or_refused(monkeypatch):
    monkeypatch.setattr(_backends, "_MISSING", {"cpu": "numba"})
    monkeypatch.setitem(_backends.BACKENDS, "triton", _backends.BACKENDS["triton"]._replace(device="cpu"))
    assert backend_for(zeros(1)) == "triton"
    assert backend_for(zeros(1, dtype=torch.float64)) == "reference"
    with pytest.raises(ValueError, match=r"^backend is 'triton', which computes in float32; pass float32 tensors or "):
        backend_for(zeros(1, dtype=torch.float64), "triton")


@pytest.mark.parametrize(("name", "package", "device"), [("cpu", "numba", "cpu"), ("triton", "triton", "cuda")])
def test_without_its_package_the_reference_takes_over(name, package, device, monkeypatch):
    monkeypatch.setattr(_backends, "_MISSING", {name: package})
    assert available_backends()[name] == f"{package} is not installed: pip install {package}"
    if not INTERPRETED:  # else triton follows cpu
        assert backend_for(device) == "reference"
    message = rf"^backend is '{name}', but {package} is not installed: pip install {package}\.$"
    with pytest.raises(ValueError, match=message):
        backend_for(device, name)


# function, error, message, what is changed
WRONG = [
    (scan, TypeError, "x must be a torch.Tensor, not list", {"x": [1.0]}),
    (scan, TypeError, "gate must be a torch.Tensor, not NoneType", {"gate": None}),
    (scan, TypeError, "x is complex; pass real tensors", {"x": zeros(2, 5, 3, dtype=torch.complex64)}),
    (scan, TypeError, "gate has dtype torch.int64; convert", {"gate": zeros(2, 5, 3).long()}),
    (scan, ValueError, r"gate must have shape \(batch, length, channels\), not \(5, 3\)", {"gate": zeros(5, 3)}),
    (scan, ValueError, "gate must have shape", {"x": zeros(2, 5, 0), "gate": zeros(2, 5, 0)}),
    (scan, ValueError, r"x must have shape \(2, 5, 3\) or, as two planes, \(2, 5, 6\)", {"x": zeros(2, 4, 6)}),
    (scan, ValueError, r"not \(2, 5, 4\)", {"x": zeros(2, 5, 4)}),
    (scan, ValueError, "x must have shape", {"x": zeros(5, 6)}),
    (scan, ValueError, "pass x as two planes", {"x": zeros(2, 5, 3)}),
    (scan, ValueError, r"theta must have shape \(3,\), not \(6,\)", {"theta": zeros(6)}),
    (scan, ValueError, r"theta must have shape \(3,\), not \(2, 3\)", {"theta": zeros(2, 3)}),
    (scan, ValueError, r"initial_state must have shape \(2, 6\), not \(2, 3\)", {"initial_state": zeros(2, 3)}),
    (scan, ValueError, "gate is on meta but x is on cpu; move them", {"gate": zeros(2, 5, 3, device="meta")}),
    (scan, ValueError, "initial_state is on meta but x", {"initial_state": zeros(2, 6, device="meta")}),
    (hgru, TypeError, "candidate must be a torch.Tensor, not NoneType", {"candidate": None}),
    (hgru, TypeError, "forget is complex; pass real tensors", {"forget": zeros(2, 5, 3, dtype=torch.complex64)}),
    (hgru, TypeError, "candidate has dtype torch.bool; convert", {"candidate": zeros(2, 5, 6, dtype=torch.bool)}),
    (hgru, TypeError, "lower_bound must be a torch.Tensor, not float", {"lower_bound": 0.5}),
    (hgru, TypeError, "theta is complex", {"theta": zeros(3, dtype=torch.complex64)}),
    (hgru, TypeError, "initial_state has dtype torch.int32", {"initial_state": zeros(2, 6, dtype=torch.int32)}),
    (hgru, ValueError, r"forget must have shape \(batch, length, channels\)", {"forget": zeros(2, 4, 5, 3)}),
    (hgru, ValueError, "candidate must have shape .* to fit forget", {"candidate": zeros(2, 5, 9)}),
    (hgru, ValueError, r"lower_bound must have shape \(3,\), not \(1, 3\)", {"lower_bound": zeros(1, 3)}),
    (hgru, ValueError, "pass candidate as two planes", {"candidate": zeros(2, 5, 3), "initial_state": zeros(2, 3)}),
    (hgru, ValueError, r"theta must have shape \(3,\), not \(2, 3\)", {"theta": zeros(2, 3)}),
    (hgru, ValueError, r"theta must have shape \(3,\) or \(2, 3\), not \(4, 3\)",
     {"theta": zeros(4, 3), "bidirectional": True, "initial_state": None}),
    (hgru, ValueError, r"initial_state must have shape \(2, 6\), not \(6,\)", {"initial_state": zeros(6)}),
    (hgru, ValueError, "bidirectional .* leave out initial_state", {"bidirectional": True}),
    (hgru, ValueError, "bidirectional .* return_final_state",
     {"bidirectional": True, "initial_state": None, "return_final_state": True}),
    (hgru, ValueError, "activation is 'relu'; choose one of: silu, identity", {"activation": "relu"}),
    (hgru, ValueError, "activation is None; choose", {"activation": None}),
    (hgru, TypeError, "lengths must be a torch.Tensor of int64 or int32", {"lengths": [5, 5]}),
    (hgru, TypeError, "lengths must be a torch.Tensor of int64 or int32", {"lengths": zeros(2)}),
    (hgru, TypeError, "lengths must be a torch.Tensor of int64 or int32", {"lengths": zeros(2, dtype=torch.bool)}),
    (hgru, ValueError, r"lengths must have shape \(2,\), not \(2, 5\)", {"lengths": zeros(2, 5).long()}),
    (hgru, ValueError, r"lengths must have shape \(2,\), not \(\)", {"lengths": torch.tensor(5)}),
    (hgru, ValueError, "lengths is on meta but candidate is on cpu", {"lengths": zeros(2, device="meta").long()}),
    (hgru, ValueError, "lower_bound is on meta but candidate is on cpu", {"lower_bound": zeros(3, device="meta")}),
    (hgru2d, TypeError, "forget must be a torch.Tensor, not NoneType", {"forget": None}),
    (hgru2d, TypeError, "candidate is complex", {"candidate": zeros(2, 4, 5, 3, dtype=torch.complex64)}),
    (hgru2d, TypeError, "lower_bound has dtype torch.int64", {"lower_bound": zeros(3).long()}),
    (hgru2d, ValueError, r"forget must have shape \(batch, height, width, channels\)", {"forget": zeros(2, 5, 3)}),
    (hgru2d, ValueError, "candidate must have shape", {"candidate": zeros(2, 5, 4, 6)}),
    (hgru2d, ValueError, r"lower_bound must have shape \(3,\)", {"lower_bound": zeros(6)}),
    (hgru2d, ValueError, r"theta must have shape .* or \(2, 3\) or \(4, 3\), not \(3, 3\)", {"theta": zeros(3, 3)}),
    (hgru2d, ValueError, "pass candidate as two planes", {"candidate": zeros(2, 4, 5, 3)}),
    (hgru2d, ValueError, "theta is on meta but candidate", {"theta": zeros(4, 3, device="meta")}),
    (hgru2d, ValueError, "activation is 'tanh'", {"activation": "tanh"}),
    (gated_norm, TypeError, "weight must be a torch.Tensor, not NoneType", {"weight": None}),
    (gated_norm, TypeError, "gate is complex", {"gate": zeros(2, 5, 6, dtype=torch.complex64)}),
    (gated_norm, TypeError, "h has dtype torch.int64", {"h": zeros(2, 5, 6).long()}),
    (gated_norm, ValueError, r"h must have shape \(\.\.\., channels\), not \(\)", {"h": torch.tensor(1.0)}),
    (gated_norm, ValueError, r"h must have shape \(\.\.\., channels\)", {"h": zeros(5, 0)}),
    (gated_norm, ValueError, r"gate must have the shape of h, \(2, 5, 6\), not \(5, 6\)", {"gate": zeros(5, 6)}),
    (gated_norm, ValueError, r"weight must have shape \(6,\), not \(3,\)", {"weight": zeros(3)}),
    (gated_norm, ValueError, r"bias must have shape \(6,\), not \(1,\)", {"bias": zeros(1)}),
    (gated_norm, ValueError, "bias is on meta but h is on cpu", {"bias": zeros(6, device="meta")}),
]  # fmt: skip


@pytest.mark.parametrize("function", VALID)
def test_the_arguments_that_the_wrong_ones_are_made_from_are_right(function):
    y = function(**VALID[function], backend="reference")
    assert y.shape == next(iter(VALID[function].values())).shape


@pytest.mark.parametrize(
    ("function", "error", "message", "changed"), WRONG, ids=[f"{f.__name__}: {message}" for f, _, message, _ in WRONG]
)
def test_wrong_arguments_are_refused_in_one_sentence(function, error, message, changed):
    assert changed.keys() <= inspect.signature(function).parameters.keys()
    with pytest.raises(error, match=message) as raised:
        function(**{**VALID[function], **changed})
    assert type(raised.value) is error
    assert str(raised.value).endswith(".")
    assert "\n" not in str(raised.value)
