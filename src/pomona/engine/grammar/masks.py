"""Masks of the rows of one pass: bits on the host, made while the device computes the logits, then added to them.

A byte of eight bits picks one of 256 lines of eight numbers, 0 or minus infinity, and logits and numbers are added: on 2 CPU cores
0.6 ms for 32 rows and a vocabulary of 8,192, where shifting bits out of words and `mx.where` take 1.6 ms.
"""

from collections.abc import Sequence as ReadOnlySequence
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np
from llguidance import LLExecutor
from llguidance.numpy import fill_next_token_bitmask_par
from numpy.typing import NDArray

from pomona.core.errors import EngineFailed, PomonaError
from pomona.engine.grammar.constraint import Constraint

Bits = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """What some rows of a pass may choose. `bits` (lines, words): one line for each of `lines`, the rows' places in the pass."""

    lines: tuple[int, ...]
    bits: Bits

    def apply(self, logits: mx.array) -> mx.array:
        """`logits` (rows, vocabulary) of float32 with minus infinity where the rows' masks forbid."""
        numbers = mx.take(mx.array(_NUMBERS), mx.array(self.bits).view(mx.uint8), axis=0)  # (lines, bytes, 8)
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
        self._executor: LLExecutor | None = None

    def make(self, constraints: ReadOnlySequence[Constraint | None], end_id: int) -> Verdicts:
        """Masks for what follows the known tokens, line by line. `end_id` is the bit that says that a grammar may end."""
        bound = {line: constraint for line, constraint in enumerate(constraints) if constraint is not None and constraint.needs_mask}
        if not bound:
            return Verdicts()
        bits = np.zeros((len(bound), (max(self._vocabulary, end_id + 1) + 31) >> 5), np.int32)
        self._fill(list(bound.values()), bits)
        verdicts = Verdicts(Masks(tuple(bound), bits))
        for (line, constraint), own in zip(bound.items(), bits, strict=True):
            if constraint.forced is not None:
                _set(own, (constraint.forced,), True)
            elif constraint.grammar is None or not constraint.grammar.active:  # it is still to begin: the answer cannot end before
                own[:] = -1
                _set(own, constraint.stop_ids, False)
            else:
                self._judge(line, constraint, own, end_id, verdicts)
        return verdicts

    def _fill(self, constraints: list[Constraint], bits: Bits) -> None:
        """What the matchers say, all at once."""
        matchers = [(each.grammar.matcher, index) for index, each in enumerate(constraints) if each.grammar and each.grammar.masks]
        if matchers:
            self._executor = self._executor or LLExecutor()
            fill_next_token_bitmask_par(self._executor, matchers, bits)

    def _judge(self, line: int, constraint: Constraint, bits: Bits, end_id: int, verdicts: Verdicts) -> None:
        """Turn the bit that says that the grammar may end into the row's own end tokens."""
        may_end = bool(bits[end_id >> 5] >> (end_id & 31) & 1)
        whole, rest = divmod(self._vocabulary, 32)
        if rest:
            bits[whole] &= (1 << rest) - 1
        bits[whole + bool(rest) :] = 0  # ids that the model has no logits for
        problem = constraint.grammar.problem() if constraint.grammar and constraint.grammar.matcher.is_error() else None
        if bits.any() and problem is None:
            _set(bits, constraint.stop_ids if may_end else (), True)
            return
        bits[:] = -1  # what is chosen will not be looked at
        if may_end and problem is None:
            verdicts.ended.append(line)
        else:
            verdicts.failed.append((line, problem or EngineFailed("The grammar allows no token that the model has. Loosen it.")))


def _set(bits: Bits, tokens: tuple[int, ...], allowed: bool) -> None:
    words = bits.view(np.uint32)
    for token in tokens:
        bit = np.uint32(1 << (token & 31))
        words[token >> 5] = words[token >> 5] | bit if allowed else words[token >> 5] & ~bit


_NUMBERS = np.where(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little"), 0, -np.inf).astype(np.float32)
