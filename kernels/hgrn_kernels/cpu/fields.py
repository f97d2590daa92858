"""Positions in the block of 64-bit integers that tells a kernel everything: sizes, strides and addresses.

Strides count elements. A tensor that is absent has the address 0. For the gated norm X is h, H is y and DH is dy.
"""

# Counters of the items and threads that began, and how the work is cut.
NEXT, SLOT, ITEMS, TILES, TILE, LENGTH, CHANNELS, PLANES, CHUNK, INNER = range(10)
# Flags. ADD: onto what the outputs hold; FETCH: ask for memory beforehand.
ROTATE, GATED, SILU, REVERSE, ADD, FETCH, GATE_FIRST = range(10, 17)
X, X_OUTER, X_INNER, X_STEP, GATE, GATE_OUTER, GATE_INNER, GATE_STEP = range(17, 25)
DH, DH_OUTER, DH_INNER, DH_STEP, OUT_OUTER, OUT_INNER, OUT_STEP = range(25, 32)
# REST: 1 − the lower bound.
LOWER, REST, COS, SIN, LENGTHS, INITIAL, CHECKPOINTS, CARRIES, SCRATCH, SCRATCH_SIZE = range(32, 42)
H, FINAL, DFINAL, DX, DGATE, DINITIAL, ADJOINTS, DTHETA, DLOWER = range(42, 51)
WEIGHT, BIAS, EPS, MEAN, RSTD, DWEIGHT, DBIAS = range(51, 58)

POSITIONS = {name: value for name, value in globals().items() if name.isupper()}
