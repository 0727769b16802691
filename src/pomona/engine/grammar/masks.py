"""Masks of the rows of one pass: bits on the host, made while the device computes the logits, then added to them.

A byte of eight bits picks one of 256 lines of eight numbers, 0 or minus infinity, and logits and numbers are added. For 32 rows and a
vocabulary of 8,192 on 2 CPU cores that takes 0.26 ms with NumPy and 0.6 ms with MLX, where shifting bits out of words and `mx.where`
take 1.6 ms.
"""

import os
from collections.abc import Callable
from collections.abc import Sequence as ReadOnlySequence
from dataclasses import dataclass, field
from functools import cache
from typing import cast

import mlx.core as mx
import numpy as np
from llguidance import LLExecutor
from llguidance.numpy import fill_next_token_bitmask, fill_next_token_bitmask_par
from numpy.typing import NDArray

from pomona.core.errors import EngineFailed, PomonaError
from pomona.engine.grammar.constraint import Constraint

Bits = NDArray[np.int32]
WORTH_THREADS = 8
"""Matchers. A mask takes 10 to 25 us, waking a thread about as long; on two cores there is none to spare."""


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """What some rows of a pass may choose. `bits` (lines, words): one line for each of `lines`, the rows' places in the pass."""

    lines: tuple[int, ...]
    bits: Bits

    def apply(self, logits: mx.array) -> mx.array:
        """`logits` (rows, vocabulary) of float32 with minus infinity where the rows' masks forbid."""
        if mx.default_device() == mx.cpu:
            numbers = mx.array(np.take(_numbers(), self.bits.view(np.uint8), axis=0).reshape(len(self.lines), -1)[:, : logits.shape[1]])
        elif logits.shape[1] == 32 * self.bits.shape[1] and len(self.lines) == logits.shape[0]:
            return _masking()(logits, mx.array(self.bits.view(np.uint32)))
        else:  # the bits are a thirty-second of what would have to cross
            numbers = mx.take(_numbers_there(), mx.array(self.bits).view(mx.uint8), axis=0)  # (lines, bytes, 8)
            numbers = numbers.reshape(len(self.lines), -1)[:, : logits.shape[1]]
        if len(self.lines) == logits.shape[0]:
            return logits + numbers
        return logits.at[mx.array(self.lines)].add(numbers)


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """What came of making masks. Of the lines, those that `ended` have nothing left to choose, those that `failed` cannot go on."""

    masks: Masks | None = None
    ended: list[int] = field(default_factory=list[int])
    failed: list[tuple[int, PomonaError]] = field(default_factory=list[tuple[int, PomonaError]])


class MaskMaker:
    """Makes the masks of one engine, for logits of `vocabulary` tokens."""

    def __init__(self, vocabulary: int) -> None:
        self._vocabulary = vocabulary
        self._cores = os.cpu_count() or 1
        self._executor: LLExecutor | None = None

    def make(self, constraints: ReadOnlySequence[Constraint | None], end_id: int) -> Verdicts:
        """Masks for what follows the known tokens, line by line. `end_id` is the bit that says that a grammar may end."""
        bound = {line: constraint for line, constraint in enumerate(constraints) if constraint is not None and constraint.needs_mask}
        if not bound:
            return Verdicts()
        bits = np.zeros((len(bound), (max(self._vocabulary, end_id + 1) + 31) >> 5), np.int32)
        self._fill(list(bound.values()), bits)
        may_end = cast("list[int]", (bits[:, end_id >> 5] >> (end_id & 31) & 1).tolist())
        bits &= _first(self._vocabulary, bits.shape[1])  # the model has no logits for the others
        goes_on = cast("list[bool]", bits.any(axis=1).tolist())
        verdicts = Verdicts(Masks(tuple(bound), bits))
        for place, (line, constraint) in enumerate(bound.items()):
            if not constraint.asks_matcher:
                _set_without_matcher(bits[place], constraint)
                continue
            if may_end[place]:
                _set(bits[place], constraint.stop_ids, True)
            problem = _problem(constraint, stuck=not (goes_on[place] or may_end[place]))
            if problem is not None:
                verdicts.failed.append((line, problem))
            elif not goes_on[place]:
                verdicts.ended.append(line)
            if problem is not None or not (goes_on[place] or constraint.stop_ids):
                bits[place] = -1  # what is chosen will not be looked at
        return verdicts

    def _fill(self, constraints: list[Constraint], bits: Bits) -> None:
        """What the matchers say."""
        matchers = [(each.grammar.matcher, place) for place, each in enumerate(constraints) if each.grammar and each.asks_matcher]
        if self._cores > 2 and len(matchers) >= WORTH_THREADS:
            self._executor = self._executor or LLExecutor()
            fill_next_token_bitmask_par(self._executor, matchers, bits)
        else:
            for matcher, place in matchers:
                fill_next_token_bitmask(matcher, bits, place)


def _set_without_matcher(bits: Bits, constraint: Constraint) -> None:
    """One token is forced, or a grammar is still to begin: then the answer cannot end before."""
    if constraint.forced is not None:
        _set(bits, (constraint.forced,), True)
    else:
        bits[:] = -1
        _set(bits, constraint.stop_ids, False)


def _problem(constraint: Constraint, *, stuck: bool) -> PomonaError | None:
    if constraint.grammar is not None and constraint.grammar.matcher.is_error():
        return constraint.grammar.problem()
    return EngineFailed("The grammar allows no token that the model has. Loosen it.") if stuck else None


@cache
def _first(count: int, words: int) -> Bits:
    """Bits for the ids below `count`."""
    bits = np.zeros(words * 32, np.uint8)
    bits[:count] = 1
    return np.packbits(bits, bitorder="little").view(np.int32)


def _set(bits: Bits, tokens: tuple[int, ...], allowed: bool) -> None:
    words = bits.view(np.uint32)
    for token in tokens:
        bit = np.uint32(1 << (token & 31))
        words[token >> 5] = words[token >> 5] | bit if allowed else words[token >> 5] & ~bit


@cache
def _numbers() -> NDArray[np.float32]:
    """(256, 8): what to add to the logits of eight tokens, by the byte of their bits."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    return np.where(bits, 0, -np.inf).astype(np.float32)


@cache
def _numbers_there() -> mx.array:
    return mx.array(_numbers())


@cache
def _masking() -> Callable[[mx.array, mx.array], mx.array]:
    """One kernel for all rows, where each has a mask and the vocabulary fills the words."""
    return cast("Callable[[mx.array, mx.array], mx.array]", mx.compile(masked))


def masked(logits: mx.array, words: mx.array) -> mx.array:
    """`logits` (rows, 32 * words) with minus infinity where a bit of `words` (rows, words) of uint32 is 0."""
    bits = (words[:, :, None] >> mx.arange(32, dtype=mx.uint32)) & 1
    return mx.where(bits, logits.reshape(*words.shape, 32), -mx.inf).reshape(logits.shape)
