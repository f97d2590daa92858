"""What each segment of a sequence passes on by itself, and how the others' shares are folded into what enters one.

Of the two quantities that run along a sequence, the first runs from step 0 on and the second back from the last step:

    forward pass     first: h of the scan from the left      second: h of the scan from the right
    backward pass    first: gradient of the right scan's h   second: gradient of the left scan's h

so a scan in one direction has only the first forward, and only the second backward. What enters a chunk or a segment is
an h without the λ of its first step, or a gradient that has passed the λ of the step it comes from.
"""

# mypy: ignore-errors
import triton
import triton.language as tl

from hgrn_kernels.triton.steps import (
    advance,
    gates,
    origin,
    read_gates,
    read_planes,
    read_state,
    retreat,
    rotation,
    write_state,
    written,
)

# Neither sizes nor flags are specialised: a program of another length or batch would be compiled again. Nor are
# alignments, which a slice of a wider tensor may lack. The widths are: known distances between rows cost no
# instructions and no registers, and a model has few of them.
SIZES = (
    "length", "segments", "segment", "scale", "offset", "has_lower", "has_lengths", "has_initial", "has_final", "save",
)  # fmt: skip


def kernel(function):
    """Compile once for each choice of the constants in capitals and of the dtypes, and for nothing else."""
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    pointers = [name for name in names if name not in SIZES and not name.isupper()]
    sizes = [name for name in names if name in SIZES]
    return triton.jit(function, do_not_specialize=sizes, do_not_specialize_on_alignment=pointers)


@triton.jit
def place(lengths, length, segments, segment, has_lengths, D: tl.constexpr, BLOCK: tl.constexpr):
    """Return this program's sequence, segment, channels, their mask, the real length and the steps begin…end."""
    program = tl.program_id(0)
    TILES: tl.constexpr = (D + BLOCK - 1) // BLOCK
    d = (program % TILES) * BLOCK + tl.arange(0, BLOCK)
    mask = tl.full((BLOCK,), True, tl.int1)
    if D % BLOCK != 0:
        mask = d < D
        d = tl.minimum(d, D - 1)
    s = (program // TILES) % segments
    n = (program // TILES // segments).to(tl.int64)
    count = tl.load(lengths + n, mask=has_lengths != 0, other=length).to(tl.int32)
    count = tl.minimum(tl.maximum(count, 0), length)
    return n, s, d, mask, count, s * segment, tl.minimum(s * segment + segment, count)


@triton.jit
def bounds(lower, d, has_lower):
    """Return the lower bound γ; 0 without one."""
    return tl.load(lower + d, mask=has_lower != 0, other=0.0)


@triton.jit
def fold(totals, plane, by, count, theta, segment, d, re, im, D: tl.constexpr, COMPLEX: tl.constexpr):
    """Carry a state over ``count`` segments: the first has its totals at ``totals``, each next one ``by`` further.

    ``segment`` is their number of steps, negative for a gradient, which turns back.
    """
    cos, sin = rotation(theta, d, segment, COMPLEX)
    for j in tl.range(0, count, 1, loop_unroll_factor=4):
        at = totals + j * by * (3 + 2 * COMPLEX) * D + d
        pr, pi = read_state(at + plane * D, D, COMPLEX)
        re, im = advance(tl.load(at), re, im, cos, sin, pr, pi, COMPLEX)
    return re, im


@triton.jit
def clear(out, n, length, begin, segment, count, mask, D: tl.constexpr, COMPLEX: tl.constexpr):
    """Write zeros at the padding among the positions of a segment."""
    zero = tl.zeros(mask.shape, tl.float32)
    for t in range(tl.maximum(begin, count), tl.minimum(begin + segment, length)):
        write_state(out + (n * length + t) * (1 + COMPLEX) * D, zero, zero, mask, D, COMPLEX)


@kernel
def summarise(
    v, gate, lower, theta, lengths, checkpoints, products, totals, length, segments, segment,
    scale, offset, has_lower, has_lengths,
    ADJOINT: tl.constexpr, BOTH: tl.constexpr, GATED: tl.constexpr, COMPLEX: tl.constexpr,
    D: tl.constexpr, V_ROW: tl.constexpr, G_ROW: tl.constexpr, INNER: tl.constexpr, SIGN: tl.constexpr,
    CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Run once over each segment, as if nothing came before or after it; v is x, or with ADJOINT dh.

    Writes the segment's totals, 3 or 5 rows of D: Π λ, what leaves the first quantity at its end, what leaves the
    second at its start. The second runs against this loop: its total sums each input times the product of all λ up
    to there. With BOTH also a checkpoint of the first before every chunk, and the Π λ up to there.
    """
    n, s, d, mask, count, begin, end = place(lengths, length, segments, segment, has_lengths, D, BLOCK)
    v += origin(n, length, count, V_ROW, INNER, SIGN) + d
    gate += origin(n, length, count, G_ROW, INNER, SIGN) + d
    V_STEP: tl.constexpr = SIGN * INNER * V_ROW
    G_STEP: tl.constexpr = SIGN * INNER * G_ROW
    PLANES: tl.constexpr = 1 + COMPLEX
    bound = bounds(lower, d, has_lower)
    c1, s1 = rotation(theta + (D if ADJOINT and BOTH else 0), d, 1, COMPLEX)
    c2, s2 = rotation(theta + (D if BOTH and not ADJOINT else 0), d, 1, COMPLEX)
    product = tl.full(d.shape, 1.0, tl.float32)
    zero = tl.zeros_like(product)
    ar, ai, br, bi, mr, mi = zero, zero, zero, zero, product, zero
    for i in range(tl.cdiv(tl.maximum(end - begin, 0), CHUNK)):
        t = begin + i * CHUNK
        vr, vi = read_planes(v + t.to(tl.int64) * V_STEP, end - t, D, V_STEP, COMPLEX, CHUNK)
        f = read_gates(gate + t.to(tl.int64) * G_STEP, end - t, G_STEP, GATED, CHUNK)
        if BOTH:
            row = n * tl.cdiv(length, CHUNK) + t // CHUNK
            write_state(checkpoints + row * PLANES * D + d, ar, ai, mask, D, COMPLEX)
            tl.store(products + row * D + d, product, mask=mask)
        for r in tl.static_range(CHUNK):
            keep, _, away = gates(f[r], bound, GATED)
            if ADJOINT:
                re, im = vr[r].to(tl.float32), vi[r].to(tl.float32)
                mr, mi = retreat(keep, mr, mi, c2, s2, COMPLEX)
                br, bi = _multiply_add(br, bi, mr, mi, re, im, COMPLEX)
                if BOTH:
                    ar, ai = retreat(keep, ar + re, ai + im, c1, s1, COMPLEX)
            else:
                shut = (1.0 - bound) * away
                re, im = written(vr[r], shut, scale, offset, GATED), written(vi[r], shut, scale, offset, GATED)
                if BOTH:
                    br, bi = _multiply_add(br, bi, mr, mi, re, im, COMPLEX)
                    mr, mi = retreat(keep, mr, mi, c2, -s2, COMPLEX)
                ar, ai = advance(keep, ar, ai, c1, s1, re, im, COMPLEX)
            product *= keep
    totals += (n * segments + s) * (1 + 2 * PLANES) * D + d
    tl.store(totals, product, mask=mask)
    if BOTH or not ADJOINT:
        write_state(totals + D, ar, ai, mask, D, COMPLEX)
    if BOTH or ADJOINT:
        write_state(totals + (1 + PLANES) * D, br, bi, mask, D, COMPLEX)


@triton.jit
def _multiply_add(re, im, ar, ai, br, bi, COMPLEX: tl.constexpr):
    """Return re + i·im + a b."""
    if COMPLEX:
        return re + ar * br - ai * bi, im + ar * bi + ai * br
    return re + ar * br, im
