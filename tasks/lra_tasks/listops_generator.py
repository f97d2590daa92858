"""Seeded ListOps expressions, compiled; the same ones in the same order for any number of threads.

The distribution is that of the generator of Tay et al. 2021: a node above the greatest depth is an operator with a
given probability, else a digit; an operator has 2 to ``max_args`` arguments; an expression is kept if its length in
symbols lies strictly between two bounds. Every attempt has a random stream of its own, a function of (seed, number
of the attempt), so that attempts can be made in any order.
"""

import collections
import hashlib
import os
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numba
import numpy as np

from lra_tasks.errors import TaskError
from lra_tasks.listops_text import CLOSE, FIRST_DIGIT, FIRST_OPERATOR, Grammar

ATTEMPTS = 1024  # made by one call of the compiled code
_PATIENCE = 100_000  # attempts for one new expression before the parameters are called hopeless


class Attempts(NamedTuple):
    """The k kept expressions of a block of attempts."""

    tokens: np.ndarray  # (sum of lengths,) uint8 ids without end mark, one expression after the other
    lengths: np.ndarray  # (k,) int64
    values: np.ndarray  # (k,) int64


# Keep every operand unsigned: numba gives int64 + uint64 the type float64.
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_30, _27, _31, _32 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


@numba.njit(cache=True, inline="always")
def _mix(z):  # type: ignore[no-untyped-def]
    """Finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    z = (z ^ (z >> _30)) * _MIX_1
    z = (z ^ (z >> _27)) * _MIX_2
    return z ^ (z >> _31)


@numba.njit(cache=True, inline="always")
def _below(word, n):  # type: ignore[no-untyped-def]
    """Integer uniform on 0..n-1 from the high half of a random word."""
    return np.int64(((word >> _32) * np.uint64(n)) >> _32)


@numba.njit(cache=True)
def _apply(operator, values):  # type: ignore[no-untyped-def]
    """MIN, MAX, MED (truncated) or SM (modulo 10) of ``values``; may reorder them."""
    if operator == 0:
        return values.min()
    if operator == 1:
        return values.max()
    if operator == 3:
        return values.sum() % 10
    for i in range(1, len(values)):  # insertion sort: ten values at most
        value, j = values[i], i
        while j > 0 and values[j - 1] > value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value
    middle = len(values) // 2
    if len(values) % 2:
        return values[middle]
    return (values[middle - 1] + values[middle]) // 2


@numba.njit(cache=True)
def _expression(state, grammar, tokens, operators, missing, bases, values):  # type: ignore[no-untyped-def]
    """Draw one expression into ``tokens``; return (its length, its value), length 0 once it is too long."""
    limit = np.uint64(grammar.operator_probability * 4294967296.0)
    depth, length, end, top = 0, 0, 0, 0  # open operators; symbols, those still to be closed included; ends of stacks
    while True:
        state += _GAMMA
        word = _mix(state)
        if depth + 1 < grammar.max_depth and (word & _LOW) < limit:
            length += 2
            if length >= grammar.max_length:
                return 0, 0
            missing[depth] = 2 + _below(word, grammar.max_args - 1)
            state += _GAMMA
            operators[depth] = _below(_mix(state), 4)
            tokens[end] = FIRST_OPERATOR + operators[depth]
            end += 1
            bases[depth] = top
            depth += 1
            continue
        length += 1
        if length >= grammar.max_length:
            return 0, 0
        values[top] = _below(word, 10)
        tokens[end] = FIRST_DIGIT + values[top]
        top += 1
        end += 1
        while depth > 0:  # close every operator that has its last argument
            missing[depth - 1] -= 1
            if missing[depth - 1] > 0:
                break
            depth -= 1
            values[bases[depth]] = _apply(operators[depth], values[bases[depth] : top])
            top = bases[depth] + 1
            tokens[end] = CLOSE
            end += 1
        if depth == 0:
            return length, values[0]


@numba.njit(nogil=True, cache=True)
def _attempts(key, first, count, grammar, tokens, lengths, labels):  # type: ignore[no-untyped-def]
    """Make attempts first..first+count-1, store the kept ones end to end and return their number."""
    operators = np.empty(grammar.max_depth, np.int64)
    missing = np.empty(grammar.max_depth, np.int64)
    bases = np.empty(grammar.max_depth, np.int64)
    values = np.empty(grammar.max_length + 1, np.int64)
    kept, start = 0, 0
    for attempt in range(first, first + count):
        state = _mix(key + np.uint64(attempt))
        length, label = _expression(state, grammar, tokens[start:], operators, missing, bases, values)
        if length > grammar.min_length:
            lengths[kept] = length
            labels[kept] = label
            kept += 1
            start += length
    return kept


def attempts(seed: int, first: int, count: int, grammar: Grammar) -> Attempts:
    """Make attempts first..first+count−1 and return the kept expressions, duplicates included.

    It runs on the calling thread and lets others run meanwhile.
    """
    key = np.uint64(int.from_bytes(hashlib.sha256(f"listops {seed}".encode()).digest()[:8], "little"))
    tokens = np.empty(count * grammar.max_length, np.uint8)
    lengths = np.empty(count, np.int64)
    values = np.empty(count, np.int64)
    kept = _attempts(key, first, count, grammar, tokens, lengths, values)
    return Attempts(tokens[: lengths[:kept].sum()].copy(), lengths[:kept], values[:kept])


def expressions(seed: int, grammar: Grammar, workers: int = 0) -> Generator[tuple[np.ndarray, int], None, None]:
    """Yield (ids without end mark, value) of ever new expressions, no two of them equal.

    Args:
        seed: of the whole stream.
        grammar: distribution of the expressions.
        workers: threads, 0 for one each core; the stream does not depend on it.

    Raises:
        TaskError: hardly any attempt gives an expression that is new and within the bounds.
    """
    seen: set[bytes] = set()
    wasted = 0
    for block in _ordered_blocks(seed, grammar, workers or os.cpu_count() or 1):
        wasted += ATTEMPTS
        end = 0
        for length, value in zip(block.lengths.tolist(), block.values.tolist(), strict=True):
            expression = block.tokens[end : end + length]
            end += length
            digest = hashlib.blake2b(expression.tobytes(), digest_size=16).digest()
            if digest not in seen:
                seen.add(digest)
                wasted = 0
                yield expression, value
        if wasted > _PATIENCE:
            raise TaskError(
                f"Only {len(seen):,} expressions of more than {grammar.min_length} and fewer than "
                f"{grammar.max_length} symbols were found; widen the lengths, the depth or the arguments."
            )


def _ordered_blocks(seed: int, grammar: Grammar, workers: int) -> Generator[Attempts, None, None]:
    """Blocks of :func:`attempts`, made by ``workers`` threads and given in order."""
    running: collections.deque[Future[Attempts]] = collections.deque()
    first = 0
    with ThreadPoolExecutor(workers) as pool:
        try:
            while True:
                while len(running) < 2 * workers:
                    running.append(pool.submit(attempts, seed, first, ATTEMPTS, grammar))
                    first += ATTEMPTS
                yield running.popleft().result()
        finally:
            for block in running:
                block.cancel()
