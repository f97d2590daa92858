"""What the kernels do at one row: memory, gates, activations and rotations. A complex number is a pair of tensors.

A program is one warp and each of its threads holds one channel, so a row is a vector of 32, a tuple of rows stays in
registers, and no access needs an alignment. A chunk that ends past the sequence is filled with rows that neither read
nor write anything (λ = 1, 1 − λ = 0, x = 0) and only turn the state. Threads past the last channel do what the last
one's does, and write nothing.
"""

# mypy: ignore-errors
import math

import triton
import triton.language as tl

_LOG2E = tl.constexpr(math.log2(math.e))
_SIN = tl.constexpr(tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(6, 0, -1)))
_COS = tl.constexpr(tuple((-1) ** k / math.factorial(2 * k) for k in range(6, 0, -1)))

if triton.knobs.runtime.interpret:

    @triton.jit
    def _exp2(x):
        return tl.exp2(x)

    @triton.jit
    def _reciprocal(x):
        return 1.0 / x

else:
    # Triton's own exp and division guard against denormal numbers, which cannot matter beside 1: 8 instructions more.

    @triton.jit
    def _exp2(x):
        return tl.inline_asm_elementwise(
            "ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )

    @triton.jit
    def _reciprocal(x):
        return tl.inline_asm_elementwise(
            "rcp.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )


@triton.jit
def _all_rows(start, STEP: tl.constexpr, CHUNK: tl.constexpr):
    rows = ()
    for r in tl.static_range(CHUNK):
        rows = rows + (tl.load(start + r * STEP),)
    return rows


@triton.jit
def _some_rows(start, left, other, STEP: tl.constexpr, CHUNK: tl.constexpr):
    rows = ()
    for r in tl.static_range(CHUNK):
        rows = rows + (tl.load(start + r * STEP, mask=r < left, other=other),)
    return rows


@triton.jit
def read_rows(start, left, other, STEP: tl.constexpr, CHUNK: tl.constexpr):
    """Return CHUNK rows as they are in memory; ``other`` where fewer than that are left."""
    if left >= CHUNK:
        rows = _all_rows(start, STEP, CHUNK)
    else:
        rows = _some_rows(start, left, other, STEP, CHUNK)
    return rows


@triton.jit
def read_planes(start, left, D: tl.constexpr, STEP: tl.constexpr, COMPLEX: tl.constexpr, CHUNK: tl.constexpr):
    """Return the rows of the real and of the imaginary plane; of a real sequence twice the same, the second unused."""
    re = read_rows(start, left, 0.0, STEP, CHUNK)
    im = re
    if COMPLEX:
        im = read_rows(start + D, left, 0.0, STEP, CHUNK)
    return re, im


@triton.jit
def read_gates(start, left, STEP: tl.constexpr, GATED: tl.constexpr, CHUNK: tl.constexpr):
    """Return the rows of the forget gate, or of its logits; past the end what gives λ = 1."""
    return read_rows(start, left, float("inf") if GATED else 1.0, STEP, CHUNK)


@triton.jit
def sigmoid(x):
    """Return σ(x) to a few units in the last place."""
    return _reciprocal(1.0 + _exp2(x * -_LOG2E))


@triton.jit
def read_state(start, D: tl.constexpr, COMPLEX: tl.constexpr):
    """Return both planes of one row of states, in float32."""
    re = tl.load(start).to(tl.float32)
    im = re
    if COMPLEX:
        im = tl.load(start + D).to(tl.float32)
    return re, im


@triton.jit
def read_state_if(there, start, D: tl.constexpr, COMPLEX: tl.constexpr):
    """Return both planes of one row of states, in float32; 0 if it is not there."""
    re = tl.load(start, mask=there, other=0.0).to(tl.float32)
    im = re
    if COMPLEX:
        im = tl.load(start + D, mask=there, other=0.0).to(tl.float32)
    return re, im


@triton.jit
def write_state(start, re, im, mask, D: tl.constexpr, COMPLEX: tl.constexpr):
    """Store one row of both planes, rounded to the dtype in memory."""
    tl.store(start, re.to(start.dtype.element_ty), mask=mask)
    if COMPLEX:
        tl.store(start + D, im.to(start.dtype.element_ty), mask=mask)


@triton.jit
def rotation(theta, d, times, COMPLEX: tl.constexpr):
    """Return cos and sin of ``times`` θ, each rounded once; of a real sequence 1 and 0.

    Computed in float64 from a reduced angle: the library's functions for large angles spill to local memory, and
    the approximate ones are wrong by far more than a rounding.
    """
    if not COMPLEX:
        cos = tl.full(d.shape, 1.0, tl.float32)
        return cos, tl.zeros_like(cos)
    angle = tl.load(theta + d).to(tl.float64) * times
    turns = tl.floor(angle * 0.15915494309189535 + 0.5)
    r = (angle - turns * 6.283185307179586 - turns * 2.4492935982947064e-16) * 0.125  # at most π/8
    q = r * r
    sin, cos = 0.0, 0.0
    for k in tl.static_range(6):  # Taylor's series, highest power first
        sin = sin * q + _SIN[k]
        cos = cos * q + _COS[k]
    sin = (sin * q + 1.0) * r
    cos = cos * q + 1.0
    for _ in tl.static_range(3):  # double the angle
        sin, cos = 2 * sin * cos, 1 - 2 * sin * sin
    return cos.to(tl.float32), sin.to(tl.float32)


@triton.jit
def turn(re, im, cos, sin, COMPLEX: tl.constexpr):
    """Multiply by cos + i sin."""
    if COMPLEX:
        return re * cos - im * sin, re * sin + im * cos
    return re, im


@triton.jit
def advance(keep, re, im, cos, sin, xr, xi, COMPLEX: tl.constexpr):
    """Return λ · (cos + i sin) · state + x."""
    if COMPLEX:
        c, s = keep * cos, keep * sin
        return xr + c * re - s * im, xi + s * re + c * im
    re = xr + keep * re
    return re, re


@triton.jit
def retreat(keep, re, im, cos, sin, COMPLEX: tl.constexpr):
    """Return λ · (cos − i sin) · gradient: what reaches the step before."""
    if COMPLEX:
        c, s = keep * cos, keep * sin
        return c * re + s * im, c * im - s * re
    re = keep * re
    return re, re


@triton.jit
def dot(ar, ai, br, bi, COMPLEX: tl.constexpr):
    """Return the real part of a* b."""
    if COMPLEX:
        return ar * br + ai * bi
    return ar * br


@triton.jit
def cross(ar, ai, br, bi):
    """Return the imaginary part of b* a."""
    return ai * br - ar * bi


@triton.jit
def gates(f, bound, GATED: tl.constexpr):
    """Return λ, (1 − γ) σ(f) and σ(−f), none by a subtraction that cancels. Not GATED: λ is given, the rest unused."""
    f = f.to(tl.float32)
    if not GATED:
        return f, f, f
    y = f * _LOG2E
    e = _exp2(-tl.abs(y))
    small = e * _reciprocal(1.0 + e)
    large = 1.0 - small
    positive = y >= 0
    open = (1.0 - bound) * tl.where(positive, large, small)
    return bound + open, open, tl.where(positive, small, large)


@triton.jit
def activate(x, scale, offset, GATED: tl.constexpr):
    """Return the activated candidate c = x s, and s, which its derivative s + c · (1 − s) needs.

    s = 1 / (1 + 2^(scale · x + offset)) is σ(x) or 1, as the numbers say (see `recurrence`): one kernel for both.
    """
    x = x.to(tl.float32)
    if not GATED:
        return x, x
    s = _reciprocal(1.0 + _exp2(x * scale + offset))
    return x * s, s


@triton.jit
def written(x, shut, scale, offset, GATED: tl.constexpr):
    """Return what a candidate adds to the state, (1 − λ) c, from 1 − λ."""
    c, _ = activate(x, scale, offset, GATED)
    if not GATED:
        return c
    return shut * c


@triton.jit
def origin(sequence, length, count, ROW: tl.constexpr, INNER: tl.constexpr, SIGN: tl.constexpr):
    """Return the offset of step 0 of a sequence, whose next steps are SIGN · INNER · ROW further.

    Sequences lie side by side in groups of INNER (the columns of an image; else 1). With a negative SIGN step 0 is the
    last of ``count`` positions.
    """
    start = (sequence // INNER) * INNER * length * ROW + (sequence % INNER) * ROW
    if SIGN < 0:
        start += (count - 1).to(tl.int64) * INNER * ROW
    return start
