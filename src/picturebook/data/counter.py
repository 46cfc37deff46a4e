"""Random numbers without a generator: pure functions of what they are for.

A number depends on (seed, stream, sample id, view number, index) alone, so the worker, batch, rank or resume that asks for
it cannot change it. The words are absorbed one after another by the finaliser of splitmix64 (Steele, Lea and Flood, "Fast
splittable pseudorandom number generators", OOPSLA 2014; constants: variant 13 of Stafford); from that state the numbers of
index 0, 1, … are the splitmix64 sequence. All arithmetic is modulo 2⁶⁴, so the bits are equal on every machine.
"""

import numpy as np
from jaxtyping import Float64, Int64, UInt64

_WEYL = 0x9E3779B97F4A7C15
"""2⁶⁴ / golden ratio, odd: the step of splitmix64's counter."""
_PERMUTATION_STREAM = -1
"""Streams from 0 up belong to callers; this one keeps the order of an epoch apart from them."""


def counter_uniforms(
    seed: int, ids: Int64[np.ndarray, " batch"], views: Int64[np.ndarray, " batch"], num: int, *, stream: int = 0
) -> Float64[np.ndarray, "batch {num}"]:
    """Draw `num` numbers for each (sample, view).

    Args:
        seed: any integer, taken modulo 2⁶⁴.
        ids: [B], sample ids.
        views: [B], view numbers.
        num: numbers per row. Asking for more leaves the first ones as they are.
        stream: what the numbers are for, from 0 up; streams are independent. Views use 0.

    Returns:
        [B, num], uniform in [0, 1), multiples of 2⁻⁵³. Row i depends on `ids[i]` and `views[i]`, on no other row.
    """
    state = _absorb(_state(seed, stream), ids.astype(np.uint64))
    state = _absorb(state, views.astype(np.uint64))
    return (_sequence(state, num) >> np.uint64(11)) * 2.0**-53


def permutation(seed: int, epoch: int, n: int) -> Int64[np.ndarray, " {n}"]:
    """Order the positions 0 … n - 1 for one epoch, by sorting one 64-bit number a position (equal numbers by position).

    Args:
        seed: any integer, taken modulo 2⁶⁴.
        epoch: number of the pass, from 0.
        n: how many positions, at least 0.

    Returns:
        [n], each position once.
    """
    state = _absorb(_state(seed, _PERMUTATION_STREAM), _word(epoch))
    return np.argsort(_sequence(state, n)[0], kind="stable").astype(np.int64, copy=False)


def _word(value: int) -> UInt64[np.ndarray, "1"]:
    # An array, since numpy warns of the overflow that is meant here when both operands are scalars.
    return np.array([value % 2**64], dtype=np.uint64)


def _state(seed: int, stream: int) -> UInt64[np.ndarray, "1"]:
    return _absorb(_absorb(_word(0), _word(seed)), _word(stream))


def _absorb(state: UInt64[np.ndarray, " rows"], word: UInt64[np.ndarray, " words"]) -> UInt64[np.ndarray, " longer"]:
    """Bijective in `word` for one state, so two ids or two view numbers of one state never meet."""
    return _finalise((state ^ word) + np.uint64(_WEYL))


def _sequence(state: UInt64[np.ndarray, " rows"], num: int) -> UInt64[np.ndarray, "rows {num}"]:
    steps = np.arange(1, num + 1, dtype=np.uint64) * np.uint64(_WEYL)
    return _finalise(state[:, None] + steps)


def _finalise(bits: UInt64[np.ndarray, "*shape"]) -> UInt64[np.ndarray, "*shape"]:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    finalised: UInt64[np.ndarray, "*shape"] = bits ^ (bits >> np.uint64(31))
    return finalised
