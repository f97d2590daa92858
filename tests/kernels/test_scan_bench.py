"""The benchmark: who takes part, in turns, beside which copy, and what becomes of a failure. No time is asserted."""

import math

import pytest
import torch

from hgrn_kernels import bench, scan
from hgrn_kernels._backends import BACKENDS
from hgrn_kernels.bench import peers, turns
from hgrn_kernels.bench.contenders import contenders

CPU = torch.device("cpu")
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
KERNELS = ["scan", "scan, real", "hgru causal", "hgru bidirectional", "gated_norm", "hgru + gated_norm"]
TORCH = ["plain loop (reference)", "blocked by √L (torch)", "associative_scan (torch)"]
PEERS = ["layer of torch operations", *TORCH, "softmax attention, 1 × 4"]
# Elements for each position and channel, counted in shared tables: forward, and backward besides.
FLOORS = {"scan": (5, 8), "scan, real": (3, 5), "gated_norm": (6, 10), "hgru + gated_norm": (11, 18)}


@pytest.mark.parametrize("device", [CPU, pytest.param(torch.device("cuda"), marks=NO_GPU)], ids=str)
@pytest.mark.parametrize(
    ("shape", "names"),
    [((2, 8, 4), KERNELS + PEERS), ((2, 3, 5, 4), ["hgru2d", "hgru2d + gated_norm", "layer of torch operations"])],
)
def test_rows_have_times_and_their_ratio_to_a_copy(shape, names, device, monkeypatch):
    monkeypatch.setattr(peers, "libraries", lambda device_type: {})
    rows = bench.measure(shape, device, repeats=3, warmup=1)
    assert [(row.name, row.passes) for row in rows] == [
        (name, passes) for passes in ("forward", "forward+backward") for name in names
    ]
    for row in rows:
        assert row.shape == shape
        assert row.peer == (row.name in PEERS)
        assert row.note == ""
        for times in (row.time, row.copy):
            assert 0 < times.min <= times.quartile1 <= times.median <= times.quartile3
            assert times.turns == 3
        assert row.ratio == row.time.median / row.copy.median
    for name, (forward, backward) in FLOORS.items():
        found = [row.megabytes * 1e6 for row in rows if row.name == name]
        elements = [math.prod(shape) * floor for floor in (forward, forward + backward)]
        assert found in ([], [bench.DTYPES[device.type].itemsize * n for n in elements])


@pytest.mark.parametrize("shape", [(2, 9, 4), (2, 3, 5, 4)])
def test_the_fused_and_the_unfused_layer_compute_the_same(shape):
    found = {one.name: one for one in contenders(shape, CPU, torch.float64)}
    layers = [one for name, one in found.items() if name.endswith("+ gated_norm") or name.startswith("layer")]
    fused, unfused = (one.run() for one in layers)
    torch.testing.assert_close(fused, unfused)
    dy = torch.randn_like(fused)
    for a, b in zip(*(torch.autograd.grad(one.run(), one.leaves, dy) for one in layers), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("length", [1, 2, 13, 16, 17, 24])  # also a prime, a square, and those around squares
@pytest.mark.parametrize("name", TORCH)
def test_scans_in_torch_compute_what_scan_does(name, length):
    found = {one.name: one for one in contenders((3, length, 4), CPU, torch.float64)}
    ours, theirs = found["scan, real"], found[name]
    torch.testing.assert_close(theirs.run(), ours.run())
    assert all(a is b for a, b in zip(theirs.leaves, ours.leaves, strict=True))
    dh = torch.randn(3, length, 4, dtype=torch.float64)
    for a, b in zip(*(gradients(one, dh) for one in (theirs, ours)), strict=True):
        torch.testing.assert_close(a, b)


def gradients(one, dh):
    return torch.autograd.grad(one.run(), one.leaves, dh, materialize_grads=True)


@pytest.mark.parametrize("way", [peers.blocked_scan, lambda x, gate: peers.associative_scan(x, gate, "generic")])
def test_scans_in_torch_keep_the_state_of_half_precision_in_float32(way):
    x, gate = torch.randn(2, 300, 4).bfloat16(), torch.rand(2, 300, 4).bfloat16()
    h = way(x, gate)
    assert h.dtype == torch.bfloat16
    torch.testing.assert_close(h, scan(x.float(), gate.float()).bfloat16(), rtol=2**-7, atol=1e-6)


def test_scans_alone_are_those_of_all_contenders(monkeypatch):
    monkeypatch.setattr(peers, "libraries", lambda device_type: {"fla chunk_hgrn": print})
    names = [one.name for one in contenders((2, 8, 4), CPU, torch.float32)]
    alone = bench.scans((2, 8, 4), CPU, torch.float32)
    assert [one.name for one in alone] == ["scan", "scan, real", *TORCH, "fla chunk_hgrn"]
    assert [name for name in names if name in {one.name for one in alone}] == [one.name for one in alone]
    assert [one.peer for one in alone] == [False] * 2 + [True] * 4


def test_every_backend_of_the_device_takes_part_once(monkeypatch):
    monkeypatch.setenv("HGRN_BACKEND", "reference")
    interpreted = BACKENDS["triton"]._replace(device="cpu")  # whose times would say nothing
    monkeypatch.setitem(BACKENDS, "triton", interpreted)
    found = {one.name: one for one in bench.scans((2, 8, 4), CPU, torch.float64)}
    assert list(found) == ["scan", "scan, real", "scan, real, cpu", *TORCH]
    torch.testing.assert_close(found["scan, real, cpu"].run(), found["scan, real"].run())
    assert (found["scan, real, cpu"].floor, found["scan, real, cpu"].peer) == ((3, 5), False)


def test_who_is_left_out_has_a_row_with_the_reason_and_is_not_called():
    shape, called = (1, 4, 4), []
    entered = bench.scans(shape, CPU, torch.float32)
    slow = entered[1]
    entered[1] = slow._replace(run=lambda: called.append(torch.is_grad_enabled()) or slow.run())
    left_out = {(slow.name, "forward+backward"): "left out: too slow"}
    rows = bench.measure(shape, CPU, entered=entered, left_out=left_out, repeats=1, warmup=1)
    assert called == [False, False]
    forward, both = (row for row in rows if row.name == slow.name)
    assert (forward.note, forward.ratio) == ("", forward.time.median / forward.copy.median)
    assert (both.note, both.time, both.ratio) == ("left out: too slow", None, None)
    assert {row.note for row in rows} == {"", "left out: too slow"}
    assert len(rows) == 2 * len(entered)


def test_contenders_take_turns_and_only_peers_may_fail():
    calls = []

    def fails(error):
        def function():
            calls.append(str(error))
            raise error

        return function

    functions = {
        "copy": lambda: calls.append("copy"),
        "ours": fails(torch.OutOfMemoryError("no room")),
        "peer": fails(RuntimeError("cannot\nat all")),
        "scan": lambda: calls.append("scan"),
    }
    options = {"repeats": 2, "warmup": 1, "seconds": 60.0}
    times = turns.take_turns(functions, CPU, frozenset({"peer"}), **options)
    assert calls == ["copy", "no room", "cannot\nat all", "scan", "copy", "scan", "copy", "scan"]
    assert (times["ours"], times["peer"]) == ("out of memory", "failed: cannot")
    assert times["copy"].turns == times["scan"].turns == 2
    with pytest.raises(RuntimeError, match="cannot"):
        turns.take_turns(functions, CPU, **options)


def test_a_slow_contender_sits_out_after_three_turns():
    calls = []
    functions = {"slow": lambda: calls.append("slow"), "copy": lambda: calls.append("copy")}
    slow, copy = turns.take_turns(functions, CPU, repeats=5, warmup=4, seconds=0.0).values()
    assert (slow.turns, copy.turns) == (3, 3)
    # The first call, which compiles, does not count; the second uses up the time of the warm-up.
    assert calls == ["slow", "copy"] * 5


def test_quartiles():
    times = turns._spread([4.0, 1.0, 2.0, 3.0, 5.0])
    assert (times.min, times.quartile1, times.median, times.quartile3, times.turns) == (1, 2, 3, 4, 5)
    assert turns._spread([7.0]) == turns.Spread(7, 7, 7, 7, 1)


def test_what_is_out_of_memory_is_a_row_that_says_so(monkeypatch):
    def no_room(*tensors, **options):
        raise torch.OutOfMemoryError("tried to allocate 4 GiB")

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", no_room)
    rows = bench.measure((1, 4, 4), CPU, repeats=1, warmup=1)
    notes = {row.name: row.note for row in rows}
    assert notes.pop("softmax attention, 1 × 4") == "out of memory"
    assert set(notes.values()) == {""}
    (row,) = [row for row in rows if row.note and row.passes == "forward"]
    assert row.time is row.ratio is None
    assert row.copy is not None


def test_libraries_are_called_as_theirs_are(monkeypatch):
    """Stand-ins with the signatures of fla (log gates, a final state) and accelerated_scan ((B, D, L), gates first)."""

    def loop(gate, x, axis):
        states = [x.select(axis, 0)]
        for t in range(1, x.shape[axis]):
            states.append(gate.select(axis, t) * states[-1] + x.select(axis, t))
        return torch.stack(states, axis)

    found = {
        "fla chunk_hgrn": lambda x, g, initial_state=None, output_final_state=False: (loop(g.exp(), x, 1), None),
        "accelerated_scan.warp": lambda gates, tokens: loop(gates, tokens, 2),
        "another": "absent",
    }
    monkeypatch.setattr(peers, "libraries", lambda device_type: found)
    entered = {one.name: one for one in contenders((2, 8, 4), CPU, torch.float64)}
    assert "another" not in entered
    ours, fla, accelerated = (entered[name] for name in ("scan, real", "fla chunk_hgrn", "accelerated_scan.warp"))
    torch.testing.assert_close(fla.run(), ours.run())
    torch.testing.assert_close(accelerated.run().mT, ours.run())
    for one in (fla, accelerated):
        assert one.leaves[0].shape == one.run().shape
        assert one.floor == ours.floor
        assert all(g.abs().sum() > 0 for g in torch.autograd.grad(one.run().sum(), one.leaves))


def test_absent_libraries_say_how_to_get_them(monkeypatch):
    monkeypatch.setitem(peers._LIBRARIES, "fla chunk_hgrn", ("no_such_module", "chunk_hgrn", "pip install fla-core"))
    monkeypatch.setitem(peers._LIBRARIES, "accelerated_scan.warp", ("math", "prod", "pip install accelerated-scan"))
    peers.libraries.cache_clear()
    found = peers.libraries("cuda")
    peers.libraries.cache_clear()
    assert found["fla chunk_hgrn"] == "No module named 'no_such_module': pip install fla-core"
    assert found["accelerated_scan.warp"] is math.prod
    assert bench.libraries("cpu")["fla chunk_hgrn"].startswith("runs on a GPU only; there: pip install")
