"""Every Triton kernel compiled for sm_80 and sm_90, with no GPU: what its machine code needs, and when it is made."""

import os
import subprocess
import sys

import pytest
import triton

from hgrn_kernels.triton.compiled import ARCHITECTURES, DTYPES, compile_all, compile_for, specialisations

# The most registers of a thread, and instructions for each (b, l, d); of complex numbers and of real ones.
BOUNDS = {
    "summary.summarise": ((72, 66), (72, 44)),
    "one_way.forward": ((80, 60), (80, 42)),
    "one_way.backward": ((144, 108), (104, 64)),
    "two_ways.forward": ((112, 82), (80, 54)),
    "two_ways.backward": ((208, 146), (152, 76)),
    "norm_kernels.forward": ((64, 44), (64, 44)),
    "norm_kernels.backward": ((144, 70), (144, 70)),
}


@pytest.mark.slow
def test_every_specialisation_compiles_without_spills_and_within_bounds():
    # On the older architecture only the type that it converts by other instructions than the newer one does:
    # `python -m hgrn_kernels.triton.compiled` compiles all for both, which takes minutes more.
    older, newer = ARCHITECTURES
    wanted = specialisations()
    assert len(wanted) == 22 * 2 * len(DTYPES)
    half = [one for one in wanted if one.dtype == "bf16"]
    assert len(half) == 22 * 2
    figures = [*compile_all(wanted, [newer], os.cpu_count()), *compile_all(half, [older], os.cpu_count())]
    assert len(figures) == len(wanted) + len(half)
    for f in figures:
        kernel = f"{f.specialisation.module.rpartition('.')[2]}.{f.specialisation.name}"
        registers, instructions = BOUNDS[kernel][0 if dict(f.specialisation.constants).get("COMPLEX") else 1]
        assert (f.spills, f.stack_bytes) == (0, 0), f
        assert f.atomics == 0, f  # whose order would change the sums from run to run
        assert 8 <= f.instructions <= instructions, f
        assert f.registers <= registers, f


@pytest.mark.skipif(not triton.knobs.runtime.interpret, reason="needs TRITON_INTERPRET")
def test_nothing_is_compiled_where_kernels_are_interpreted():
    with pytest.raises(RuntimeError, match=r"^TRITON_INTERPRET is set: kernels are interpreted"):
        compile_for(specialisations()[0], 90)


KEYS = """
import sys, torch
from triton.backends.compiler import GPUTarget
from triton.compiler import make_backend
from triton.runtime.jit import create_function_from_signature
from hgrn_kernels.triton import gated_norm, recurrence
from hgrn_kernels.triton.launch import recording

def launches(lengths, batches, dtype=torch.float32):
    with recording() as made:
        for length in lengths:
            for batch in batches:
                wide = torch.zeros(batch, length, 13, dtype=dtype).requires_grad_()
                x, gate, _ = wide.split([6, 3, 4], dim=-1)
                for both in (False, True):
                    recurrence(x, gate, None, None, None, None, "silu", both, False, False)[0].sum().backward()
                gated_norm(x, x, torch.zeros(6), torch.zeros(6), 1e-5, False).sum().backward()
    return made

def keys(made):
    backend = make_backend(GPUTarget("cuda", 90, 32))
    found = set()
    for kernel, arguments, options in made:
        binder = create_function_from_signature(kernel.signature, kernel.params, backend)
        _, specialisation, chosen = binder(**arguments, **options, debug=False)  # what triton's own cache goes by
        found.add((kernel.fn.__module__, kernel.fn.__name__, str(specialisation), str(chosen)))
    return found

many = keys(launches(range(1, 2000, 97), (1, 3, 16, 17)))
one, other = (keys(launches((640,), (2,), dtype)) for dtype in (torch.float32, torch.float16))
print(len(range(1, 2000, 97)), len(many), len(one), len(one | other))
"""


def test_another_length_or_batch_is_never_compiled_again():
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", KEYS], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # Two ways: two summaries, forward and backward. One way: two summaries (from two segments on), forward, backward.
    # The norm: forward and backward. The same for every length and batch; another dtype is told apart.
    assert done.stdout.split() == ["21", "10", "10", "20"]
