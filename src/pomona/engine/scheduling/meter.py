"""Times passes, and tells their costs."""

from collections import deque
from collections.abc import Callable, Iterable
from collections.abc import Sequence as ReadOnlySequence
from dataclasses import dataclass

from pomona.engine.scheduling.costs import PassCosts, pairs_of
from pomona.engine.sequence import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class PassShape:
    """What a pass computes: tokens for `lines`, or prompt tokens. `context` counts what the lines look at, or pairs of prompt tokens."""

    lines: int = 0
    tokens: int = 0
    context: float = 0.0


def decode_shape(lines: Iterable[Sequence]) -> PassShape:
    """Of a pass that chooses tokens; a row with guesses has several lines."""
    computed = [row.computed for row in lines]
    return PassShape(lines=len(computed), context=sum(computed))


def prefill_shape(chunks: ReadOnlySequence[tuple[Sequence, int]]) -> PassShape | None:
    """Of the pass that is to compute these chunks; None where it also scores, which costs more."""
    if any(row.wants_scores for row, _ in chunks):
        return None
    padded = len(chunks) * max(count for _, count in chunks)
    return PassShape(tokens=padded, context=sum(pairs_of(count, row.computed) for row, count in chunks))


class Meter:
    """A pass takes from its begin, or from the end of the one before where the device had no rest between them."""

    def __init__(self, costs: PassCosts, clock: Callable[[], float]) -> None:
        self._costs = costs
        self._clock = clock
        self._begun: deque[tuple[PassShape | None, float]] = deque()
        self._ended_at: float | None = None

    def begin(self, shape: PassShape | None) -> None:
        """A pass is about to start. One of no known shape is timed, but nothing is learned from it."""
        self._begun.append((shape, self._clock()))

    def end(self) -> None:
        """The oldest pass that began has ended."""
        if not self._begun:
            return
        shape, begun = self._begun.popleft()
        now = self._clock()
        seconds = now - (begun if self._ended_at is None else self._ended_at)
        self._ended_at = now
        if shape is None:
            return
        if shape.lines:
            self._costs.learn_decode(shape.lines, round(shape.context), seconds)
        else:
            self._costs.learn_prefill(shape.tokens, shape.context, seconds)

    def rest(self) -> None:
        """Nothing runs any more."""
        self._begun.clear()
        self._ended_at = None
