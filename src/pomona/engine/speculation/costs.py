"""What passes cost, as measured, and how many guesses are worth theirs. Plain numbers: no clock, no arrays.

A guess is checked as one more line of the batch, so that one curve, seconds by lines, says what every choice costs. There are two of
them: passes that were built while the one before ran, and passes that had to wait for its tokens, as those with guesses must.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

WEIGHT = 0.2
"""Of a new measurement."""
OUTLIER = 4.0
"""Times what was expected: a measurement counts as this at most."""
SLOPE = 0.5
"""Where nothing was measured: twice the lines cost so much more. Two CPU cores: 0.2 from one row on, 1 from eight; GPUs far less. So
likely guesses are tried, and what that shows decides on the others.
"""
WAITING = 1.1
"""Where nothing was measured: a pass costs so many times more when nothing was built ahead."""
MARGIN = 1.1
"""Guesses must promise so many times the tokens a second."""


@dataclass(slots=True)
class Point:
    """One measured size of pass."""

    lines: float
    seconds: float

    def beyond(self, lines: float, earlier: "Point | None" = None) -> float:
        """A guess for more lines than were measured: as costs rose from `earlier` to here, or a little."""
        slope = SLOPE * self.seconds / max(1.0, self.lines)
        if earlier is not None and earlier.lines < self.lines:
            slope = max(slope, (self.seconds - earlier.seconds) / (self.lines - earlier.lines))
        return self.seconds + slope * max(0.0, lines - self.lines)


@dataclass(slots=True)
class Curve:
    """Seconds of a pass by its lines: running means of what was measured, straight lines between."""

    _points: dict[int, Point] = field(default_factory=dict[int, Point])
    _order: list[Point] = field(default_factory=list[Point])
    _seen: set[int] = field(default_factory=set[int])

    def learn(self, lines: int, seconds: float) -> None:
        """One pass. The first of each size is left out: it may have compiled kernels or grown pools."""
        bucket = _bucket(lines)
        point = self._points.get(bucket)
        if point is not None:
            point.lines += WEIGHT * (lines - point.lines)
            point.seconds += WEIGHT * (min(seconds, OUTLIER * point.seconds) - point.seconds)
        elif bucket in self._seen:
            self._points[bucket] = Point(lines, seconds)
            self._order = sorted(self._points.values(), key=_lines)
        self._seen.add(bucket)

    def forget(self) -> None:
        """What was measured may hold no longer."""
        self._points.clear()
        self._order.clear()

    def seconds(self, lines: int, anchor: Point | None = None) -> float | None:
        """Expected; None where nothing was measured. Below all measured sizes `anchor` is one more."""
        place = bisect_left(self._order, lines, key=_lines)
        before = self._order[place - 1] if place else anchor
        if place == len(self._order):
            earlier = self._order[place - 2] if place > 1 else anchor
            return None if before is None else before.beyond(lines, earlier)
        after = self._order[place]
        if before is None or before.lines >= lines:
            return after.seconds if before is None else min(before.seconds, after.seconds)
        share = (lines - before.lines) / (after.lines - before.lines)
        return before.seconds + share * (after.seconds - before.seconds)


def _lines(point: Point) -> float:
    return point.lines


def _bucket(lines: int) -> int:
    """Exact up to 16 lines, then four for each doubling."""
    if lines <= 16:
        return lines
    doublings = lines.bit_length() - 5
    return 16 + 4 * doublings + (lines >> doublings) // 4


@dataclass(slots=True)
class Costs:
    """Of one engine."""

    ahead: Curve = field(default_factory=Curve)
    """Passes that were built while the one before ran."""
    waited: Curve = field(default_factory=Curve)
    """Passes that were built when the tokens before them had been read."""
    draft: Curve = field(default_factory=Curve)
    """Passes of the draft model, by rows."""
    draft_share: float = 0.1
    """Of the model's size: what a pass of the draft model should cost before one was measured."""

    def plain(self, rows: int) -> float | None:
        """Seconds of a step without guesses."""
        return self.ahead.seconds(rows)

    def checking(self, lines: int, rows: int) -> float | None:
        """Seconds of a step with `lines` lines of `rows` rows."""
        plain = self.plain(rows)
        return self.waited.seconds(lines, None if plain is None else Point(rows, WAITING * plain))

    def drafting(self, rows: int) -> float:
        """Seconds of a pass of the draft model."""
        known = self.draft.seconds(rows)
        return self.draft_share * (self.plain(rows) or 0.0) if known is None else known


def choose(costs: Costs, rows: int, offers: Sequence[Sequence[float]], *, extra_seconds: float = 0.0) -> tuple[list[int], float]:
    """How many of each row's guesses to check so that most tokens come per second, and how many times plain decoding that is.

    `offers` has for each row that has guesses the chances that its first, second, … guess is kept, falling. `rows` are all that decode.
    No guesses, and 1.0, where none pay.
    """
    none, plain = [0] * len(offers), costs.plain(rows)
    if plain is None or not rows:
        return none, 1.0
    ranked = sorted(((chance, row) for row, chances in enumerate(offers) for chance in chances), reverse=True)
    best, best_gain, expected = 0, MARGIN, float(rows)
    for count, (chance, _) in enumerate(ranked, 1):
        expected += chance
        seconds = costs.checking(rows + count, rows)
        gain = 0.0 if seconds is None else expected / (seconds + extra_seconds) * plain / rows
        if gain > best_gain:
            best, best_gain = count, gain
    for _, row in ranked[:best]:
        none[row] += 1
    return none, best_gain if best else 1.0
