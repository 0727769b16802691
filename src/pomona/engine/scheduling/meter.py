"""Times passes, and tells their costs."""

from collections import deque
from collections.abc import Callable, Iterable
from collections.abc import Sequence as ReadOnlySequence
from dataclasses import dataclass

from pomona.engine.scheduling.costs import PassCosts, pairs_of
from pomona.engine.sequence import Sequence

HARDLY = 0.05
"""Of the seconds since the last end: a wait that was shorter found the pass done."""


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


@dataclass(slots=True, kw_only=True)
class _Begun:
    """A pass that was begun. `earlier`: seconds that the host spent on it when the pass before had run already; None where nobody knows."""

    shape: PassShape | None
    at: float
    earlier: float | None = 0.0


class Meter:
    """A pass takes from its begin, or from the end of the one before where the device had no rest between them.

    Passes are built and started while others run, and an end is only seen by who waits for it. Where the wait for a pass that decodes takes
    next to no time, the device had ended before, and the host was at the prompts behind it: to build their pass takes longer, and may mean
    to compile kernels or to plan attention. What goes beyond the known cost of decoding is then theirs.
    """

    def __init__(self, costs: PassCosts, clock: Callable[[], float]) -> None:
        self._costs = costs
        self._clock = clock
        self._begun: deque[_Begun] = deque()
        self._ended_at: float | None = None
        self._waits_since: float | None = None

    def begin(self, shape: PassShape | None) -> None:
        """A pass is about to start. One of no known shape is timed, but nothing is learned from it."""
        self._begun.append(_Begun(shape=shape, at=self._clock()))

    def wait(self) -> None:
        """From now on the host does nothing but wait for the oldest pass."""
        self._waits_since = self._clock()

    def end(self) -> None:
        """The oldest pass that began has ended, now or, if nobody waited for it, before."""
        if not self._begun:
            return
        begun, now = self._begun.popleft(), self._clock()
        spent = now - (begun.at if self._ended_at is None else self._ended_at)
        waited = spent if self._waits_since is None else now - self._waits_since
        self._ended_at, self._waits_since = now, None
        later = self._give_on(begun, spent) if waited < HARDLY * spent else 0.0
        if begun.shape is not None and begun.earlier is not None:
            self._learn(begun.shape, begun.earlier + spent - later)

    def rest(self) -> None:
        """Nothing runs any more."""
        self._begun.clear()
        self._ended_at = self._waits_since = None

    def _give_on(self, ended: _Begun, spent: float) -> float:
        """Seconds of `spent` that are those of the prompts behind a pass that decoded."""
        if not self._begun or not ended.shape or not ended.shape.lines or not (behind := self._begun[0]).shape or behind.shape.lines:
            return 0.0
        if not self._costs.knows_decode:
            behind.earlier = None
            return 0.0
        behind.earlier = max(0.0, spent - self._costs.decode_seconds(ended.shape.lines, ended.shape.context))
        return behind.earlier

    def _learn(self, shape: PassShape, seconds: float) -> None:
        if shape.lines:
            self._costs.learn_decode(shape.lines, round(shape.context), seconds)
        else:
            self._costs.learn_prefill(shape.tokens, shape.context, seconds)
