"""Compile the kernels without a GPU, and count what the machine code needs: ``python -m hgrn_kernels.triton.compiled``.

Which kernels there are is not listed anywhere: the backend is called in every way that makes a difference, and its
launches are recorded.
"""

import concurrent.futures
import importlib
import itertools
import multiprocessing
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from hgrn_kernels.triton.launch import recording

ARCHITECTURES = (80, 90)  # A100; H100 and H200
DTYPES = (torch.bfloat16, torch.float16, torch.float32)
_TYPES: dict[torch.dtype | type, str] = {
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.float32: "*fp32",
    torch.int64: "*i64",
    int: "i32",
    float: "fp32",
}


class Specialisation(NamedTuple):
    """A kernel with everything that it is compiled for: types of arguments, constants, options."""

    module: str
    name: str
    types: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, Any], ...]
    options: tuple[tuple[str, Any], ...]

    @property
    def kernel(self) -> str:
        """Its name and flags."""
        given = dict(self.constants)
        flags = [
            name.lower() for name in ("BOTH", "ADJOINT", "ADD", "GATED", "COMPLEX", "GATE_FIRST") if given.get(name)
        ]
        flags += ["reverse"] * (given.get("SIGN") == -1)
        if "TILE" in given:
            flags.append(f"of {given['D']} channels")
        return " ".join([f"{self.module.rpartition('.')[2]}.{self.name}", *flags])

    @property
    def dtype(self) -> str:
        """What it reads and writes: "bf16", "fp16" or "fp32"."""
        return dict(self.types)["gate"].removeprefix("*")


class Figures(NamedTuple):
    """What one specialisation is compiled to.

    ``instructions`` are those of the longest loop, or of the whole kernel where there is none, for each (b, l, d) that
    a thread computes: an upper bound, because the loop also holds what only the last chunk of a sequence runs.
    """

    specialisation: Specialisation
    architecture: int
    registers: int
    stack_bytes: int
    spills: int
    atomics: int  # read-modify-write operations on memory that several threads share
    instructions: float


def specialisations(dtypes: Iterable[torch.dtype] = DTYPES, width: int = 64) -> list[Specialisation]:
    """Return everything that `scan`, `hgru`, `hgru2d` and `gated_norm` launch for these dtypes and D = ``width``."""
    from hgrn_kernels.triton import gated_norm, recurrence

    with recording() as launches:
        for dtype, planes in itertools.product(dtypes, (1, 2)):
            x = torch.zeros(1, 128, planes * width, dtype=dtype).requires_grad_()  # long enough for two segments
            gate = torch.zeros(1, 128, width, dtype=dtype)
            image, image_gate = (t.unflatten(1, (16, 8)) for t in (x, gate))
            # Lower bound, θ, initial state, lengths and which activation it is change nothing that is compiled.
            nothing = (None, None, None, None)
            for reverse in (False, True):
                recurrence(x, gate, *nothing, None, False, reverse, False)[0].sum().backward()
            for both in (False, True):
                recurrence(x, gate, *nothing, "silu", both, False, False)[0].sum().backward()
            recurrence(image, image_gate, *nothing, "silu", True, False, False)[0].sum().backward()
            weight = torch.zeros(planes * width)
            for gate_first in (False, True):
                gated_norm(x, x.detach(), weight, weight, 1e-5, gate_first).sum().backward()
    # Distances between rows are numbers in the code: one of each is enough.
    distances = ("INNER", "V_ROW", "X_ROW", "G_ROW", "H_ROW", "Y_ROW")
    found: dict[Specialisation, Specialisation] = {}
    for one in (_specialisation(*launch) for launch in launches):
        constants = tuple(pair for pair in one.constants if pair[0] not in distances)
        found.setdefault(one._replace(constants=constants), one)
    return list(found.values())


def _specialisation(kernel: Any, arguments: dict[str, Any], options: dict[str, Any]) -> Specialisation:
    types, constants = [], []
    for name, value in arguments.items():
        if name.isupper():
            constants.append((name, value))
        else:
            types.append((name, _TYPES[value.dtype if isinstance(value, torch.Tensor) else type(value)]))
    return Specialisation(
        kernel.fn.__module__, kernel.fn.__name__, tuple(types), tuple(constants), tuple(options.items())
    )


def compile_for(specialisation: Specialisation, architecture: int) -> Figures:
    """Compile for a compute capability (80, 90, …), with no GPU of it present.

    Raises:
        RuntimeError: triton runs interpreted in this process.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    if triton.knobs.runtime.interpret:
        raise RuntimeError("TRITON_INTERPRET is set: kernels are interpreted in this process, not compiled.")
    kernel = getattr(importlib.import_module(specialisation.module), specialisation.name)
    types, constants = dict(specialisation.types), dict(specialisation.constants)
    signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
    place = {name: (i,) for i, name in enumerate(kernel.arg_names)}
    # What the launcher would see: pointers that torch has allocated, where the kernel does not ask for less.
    aligned = [p.name for p in kernel.params if p.name in types and not p.do_not_specialize_on_alignment]
    attributes = {place[name]: [["tt.divisibility", 16]] for name in aligned if types[name].startswith("*")}
    source = ASTSource(kernel, signature, {place[name]: value for name, value in constants.items()}, attributes)
    made = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=dict(specialisation.options))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(made.asm["cubin"])
        usage, code = (_disassemble(path, option) for option in ("-res-usage", "-sass"))
    registers, stack = (int(n) for n in re.search(r"REG:(\d+) STACK:(\d+)", usage).groups())  # type: ignore[union-attr]
    listing = [(int(a, 16), text) for a, text in re.findall(r"^\s+/\*([0-9a-f]{4,})\*/\s+(.*?);", code, re.MULTILINE)]
    spills, atomics = (
        sum(re.match(rf"(@!?U?P\w+ )?({words})\b", text) is not None for _, text in listing)
        for words in ("LDL|STL", "ATOM|ATOMG|ATOMS|RED|REDG|REDS")
    )
    first, last = _longest_loop(listing)
    rows = constants.get("CHUNK") or constants["TILE"]
    elements = rows * constants["BLOCK"] / (32 * dict(specialisation.options)["num_warps"])
    return Figures(specialisation, architecture, registers, stack, spills, atomics, (last + 1 - first) / elements)


def _disassemble(path: Path, option: str) -> str:
    from triton import knobs

    return subprocess.run(
        [knobs.nvidia.cuobjdump.path, option, path], capture_output=True, text=True, check=True
    ).stdout


def _longest_loop(listing: list[tuple[int, str]]) -> tuple[int, int]:
    """Return the places of the first and the last instruction of the longest loop; of everything if there is none."""
    at = {address: i for i, (address, _) in enumerate(listing)}
    loops = [(0, 0)]
    for i, (address, text) in enumerate(listing):
        jump = re.search(r"\bBRA\b.*?(0x[0-9a-f]+)", text)
        if jump and int(jump.group(1), 16) < address:
            loops.append((at[int(jump.group(1), 16)], i))
    first, last = max(loops, key=lambda loop: loop[1] - loop[0])
    return (first, last) if last - first > 64 else (0, len(listing) - 1)


def compile_all(
    wanted: Iterable[Specialisation], architectures: Iterable[int] = ARCHITECTURES, processes: int | None = None
) -> Iterator[Figures]:
    """Compile everything for every architecture, in processes of their own; give back each when it is done."""
    environment = os.environ.pop("TRITON_INTERPRET", None)  # the children start without it
    try:
        with concurrent.futures.ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
            jobs = [pool.submit(compile_for, one, arch) for one in wanted for arch in architectures]
            for job in concurrent.futures.as_completed(jobs):
                yield job.result()
    finally:
        if environment is not None:
            os.environ["TRITON_INTERPRET"] = environment


def main() -> None:
    """Print a Markdown table for the newest architecture, and the worst of everything."""
    made = list(compile_all(specialisations()))
    print("| kernel | registers, bf16 | fp32 | instructions, bf16 | fp32 |\n|---|---|---|---|---|")
    newest = {(f.specialisation.kernel, f.specialisation.dtype): f for f in made if f.architecture == ARCHITECTURES[-1]}
    for kernel in sorted({kernel for kernel, _ in newest}):
        half, single = newest[kernel, "bf16"], newest[kernel, "fp32"]
        figures = (half.registers, single.registers, f"{half.instructions:.0f}", f"{single.instructions:.0f}")
        print(f"| {kernel} | {' | '.join(map(str, figures))} |")
    worst = [max(getattr(f, name) for f in made) for name in ("registers", "spills", "stack_bytes", "instructions")]
    print(
        f"\nThe worst of {len(made)} (bf16, fp16 and fp32 for {' and '.join(f'sm_{a}' for a in ARCHITECTURES)}): "
        f"{worst[0]} registers, {worst[1]} spills, {worst[2]} bytes of stack, {worst[3]:.0f} instructions."
    )


if __name__ == "__main__":
    main()
