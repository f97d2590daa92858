"""The Triton backend inside torch: operators, torch.compile, checkpointing, autocast; on a GPU streams and graphs."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from hgrn_kernels import _backends, available_backends, backend_for, gated_norm, hgru, hgru2d, scan
from hgrn_kernels import triton as triton_backend
from hgrn_kernels.triton.recurrence import CHUNK, segments_for

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
on_a_gpu = pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")


def arguments(batch=2, length=11, channels=3, device=DEVICE):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(batch, length, 2 * channels, generator=g)
    forget = torch.randn(batch, length, channels, generator=g)
    bound, theta = torch.rand(channels, generator=g), torch.randn(2, channels, generator=g)
    return [t.to(device).requires_grad_() for t in (x, forget, bound, theta)]


def unit(x, forget, bound, theta):
    """HGRN's recurrence and what follows it."""
    h = hgru(x, forget, bound, theta, bidirectional=True, backend="triton")
    return gated_norm(h, x, torch.ones_like(x[0, 0]), torch.zeros_like(x[0, 0]), backend="triton")


def gradients(function, inputs):
    y = function(*inputs)
    weight = torch.linspace(-1, 1, y.numel(), device=y.device).view_as(y)
    return [y.detach(), *torch.autograd.grad(y, inputs, weight)]


def assert_equal(actual, expected):
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-5, atol=1e-6)


def test_opcheck_of_the_recurrence():
    x, forget, bound, theta = arguments(length=3)
    start, lengths = x[:, 0].detach().requires_grad_(), torch.tensor([1, 3], device=DEVICE)
    image, image_forget = (t.detach()[:, None].requires_grad_() for t in (x, forget))
    forward = torch.ops.hgrn_kernels.triton_recurrence.default
    for inputs in (
        (x, forget, None, theta[:1], start, None, None, False, True, True, True),
        (x, forget, bound, theta[:1], start, lengths, "silu", False, False, True, True),
        (x, forget, bound, theta, None, lengths, "silu", True, False, False, True),
        (image, image_forget, bound, theta.repeat(2, 1), None, None, "identity", True, False, False, True),
    ):
        leaves = [t.detach().requires_grad_(t.is_floating_point()) if torch.is_tensor(t) else t for t in inputs]
        torch.library.opcheck(forward, leaves)
        with torch.no_grad():
            h, final, *kept = forward(*leaves)
            given = (h, final if inputs[-2] else None, *leaves[:6], *kept, *leaves[6:9])
            torch.library.opcheck(torch.ops.hgrn_kernels.triton_recurrence_backward.default, given)


def test_opcheck_of_the_gated_norm():
    x, *_ = arguments()
    weight, bias = (torch.rand(6, device=DEVICE).requires_grad_() for _ in range(2))
    for gate_first in (False, True):
        inputs = (x, (2 * x).detach().requires_grad_(), weight, bias, 1e-5, gate_first)
        torch.library.opcheck(torch.ops.hgrn_kernels.triton_gated_norm.default, inputs)
        with torch.no_grad():
            _, mean, rstd = torch.ops.hgrn_kernels.triton_gated_norm(*inputs)
            backward = torch.ops.hgrn_kernels.triton_gated_norm_backward.default
            torch.library.opcheck(backward, (x.detach(), *inputs[:4], mean, rstd, gate_first))


def test_one_graph_of_any_length():
    compiled = torch.compile(unit, fullgraph=True, backend="aot_eager", dynamic=True)
    for length in (5, 9):
        inputs = arguments(length=length)
        assert_equal(gradients(compiled, inputs), gradients(unit, inputs))


def test_checkpointing_gives_the_same_gradients():
    inputs = arguments()
    again = gradients(lambda *a: checkpoint(unit, *a, use_reentrant=False), inputs)
    assert_equal(again, gradients(unit, inputs))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_no_dtype(dtype):
    inputs = arguments()
    with torch.autocast(DEVICE, dtype):
        outputs = gradients(unit, inputs)
    assert_equal(outputs, gradients(unit, inputs))
    half = [inputs[0].detach().to(dtype), inputs[1].detach().to(dtype), *inputs[2:]]
    with torch.autocast(DEVICE, dtype):
        assert unit(*half).dtype == dtype


def test_what_cannot_be_is_refused_in_one_sentence():
    x, forget, bound, theta = arguments()
    with pytest.raises(RuntimeError, match=r"triton backend .* not work under torch.func.vmap; pass backend="):
        torch.func.vmap(lambda a: scan(a, forget, backend="triton"))(torch.stack([x, x]))
    (dx,) = torch.autograd.grad(unit(x, forget, bound, theta).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only; pass backend='reference'"):
        torch.autograd.grad(dx.sum(), forget)
    with pytest.raises(ValueError, match=r"^backend is 'triton', which computes in float32; pass float32 tensors or "):
        scan(x, forget.double(), backend="triton")
    with pytest.raises(TypeError, match=r"^The triton backend computes in float32: pass float32 tensors or backend="):
        torch.ops.hgrn_kernels.triton_gated_norm(x.double(), x, bound, bound, 1e-5, False)
    wide = torch.zeros(1, 32769, device=DEVICE)
    with pytest.raises(ValueError, match=r"^The triton backend takes at most 32768 channels, not 32769: pass backend"):
        gated_norm(wide, wide, wide[0], wide[0], backend="triton")
    assert backend_for(x) == ("triton" if DEVICE == "cuda" else "cpu")
    assert backend_for(x.double()) == ("reference" if DEVICE == "cuda" else "cpu")


def test_segments_fill_the_gpu_and_cover_the_sequence():
    for sequences in (1, 3, 64, 5000):
        for length in (1, 7, 63, 64, 65, 1000, 2049, 16384):
            for channels in (1, 32, 130, 512):
                segments, steps = segments_for(sequences, length, channels, processors=132)
                assert steps % CHUNK == 0
                assert (segments - 1) * steps < length <= segments * steps
                assert segments == 1 or steps >= 64
                programs = sequences * -(-channels // 32) * segments
                assert segments == 1 or programs <= 16 * 132
                if length >= 16384 and segments > 1:
                    assert programs >= 8 * 132 or steps < 128
    assert segments_for(64, 2048, 32, 132) == (32, 64)  # ListOps
    assert segments_for(4096, 32, 128, 132) == (1, 32)  # rows of Pathfinder


@on_a_gpu
def test_cuda_graph():
    inputs = arguments(length=300, channels=40)
    with torch.no_grad():
        expected = unit(*inputs)
        unit(*inputs)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = unit(*inputs)
        captured.zero_()
        graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(captured, expected)


@on_a_gpu
def test_another_stream():
    inputs = arguments(length=300, channels=40)
    expected = gradients(unit, inputs)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        actual = gradients(unit, inputs)
    stream.synchronize()
    assert all(torch.equal(a, e) for a, e in zip(actual, expected, strict=True))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_a_device_that_is_not_the_current_one():
    assert_equal(
        [t.cpu() for t in gradients(unit, arguments(device="cuda:1"))],
        [t.cpu() for t in gradients(unit, arguments(device="cuda:0"))],
    )


def test_an_amd_gpu_is_left_to_the_reference(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.version, "hip", "7.0")
    amd = _backends.BACKENDS["triton"]._replace(device=triton_backend.device_type())
    monkeypatch.setitem(_backends.BACKENDS, "triton", amd)
    assert backend_for("cuda") == "reference"
    assert available_backends()["triton"] == "its kernels are for NVIDIA GPUs"


@pytest.mark.parametrize("backend", ["reference", "triton"])
def test_rows_and_columns_may_share_two_angles(backend):
    x, forget, bound, theta = arguments(2, 12)
    image, gates = (t.detach().unflatten(1, (3, 4)) for t in (x, forget))
    shared = hgru2d(image, gates, bound, theta, backend=backend)
    ahead, back = theta
    apart = hgru2d(image, gates, bound, torch.stack([ahead, back, ahead, back]), backend=backend)
    assert torch.equal(shared, apart)
    assert not torch.allclose(shared, hgru2d(image, gates, bound, ahead, backend=backend))


def test_images_of_any_memory_format():
    x, forget, bound, theta = arguments(2, 12)
    image, gates = (t.detach().unflatten(1, (3, 4)) for t in (x, forget))
    expected = hgru2d(image, gates, bound, theta.repeat(2, 1), backend="triton")
    turned = hgru2d(
        image.transpose(1, 2).contiguous().transpose(1, 2), gates, bound, theta.repeat(2, 1), backend="triton"
    )
    assert torch.equal(turned, expected)
