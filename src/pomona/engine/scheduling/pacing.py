"""How long the prompts' part of a step may take, and how many rows may decode together: solved from measured cost for the targets."""

from collections.abc import Iterable
from collections.abc import Sequence as ReadOnlySequence
from dataclasses import dataclass
from typing import NamedTuple

from pomona.engine.scheduling.costs import PassCosts
from pomona.engine.scheduling.targets import RANK, Targets
from pomona.engine.sequence import Sequence

STEP_SECONDS = 1.0
"""Prompts may take no longer of one step: whoever watches the engine waits for a step to end, and so does whoever wants to cancel."""
CALM = 2.0
"""Where no prompt is in a hurry, a step with prompts takes so many times one without. Less would be next to nothing on GPUs, where a pass
that reads a few prompt tokens reads all weights, as one that decodes does.
"""
CROWD = 4.0
"""Where many wait for few, a step gives so many times the decode pass to prompts for each prompt beyond the first, by streams: all that is
read must be read anyway, and whoever waits loses more than streams that slow down within their gap.
"""
BULK = 4.0
"""Where several prompts wait and a pass costs much whatever is in it, a step gives them so many times what the smallest pass takes."""
EARLY = 0.8
"""Of the time to a first token in which a prompt is to be read, as far as can be foreseen."""
HALVINGS = 6
"""Of the range in which the time for prompts is looked for."""
DEGRADED = 2.0
"""Where a target cannot be met at all, so many times what a lone row, or decoding alone, would have."""
RELAXED = 0.9
"""Of the allowed gap: who was held back or parked comes when this is kept, so that nobody comes and goes with every step."""

STRAINED = 1.1
"""Of the allowed gap: nobody is parked before this is reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """`seconds` for prompts in a step. `urgent` is the rank of the class that will miss its first token even so."""

    seconds: float
    urgent: int | None = None


class Pacer:
    """Weighs the gap of streams against the first tokens of prompts. With `bulk` several prompts get at least as much as pays."""

    def __init__(self, costs: PassCosts, targets: Targets, *, bulk: bool = False) -> None:
        self._costs = costs
        self._targets = targets
        self._bulk = BULK if bulk else 0.0

    def pace(self, decoding: ReadOnlySequence[Sequence], prompts: ReadOnlySequence[Sequence], now: float) -> Pace:
        """For a step of `decoding` rows, with `prompts` that are read or wait to be."""
        if not decoding or not prompts:
            return Pace(seconds=STEP_SECONDS)
        alone = self.decode_seconds(decoding)
        most = min(max(self._targets.gap(decoding), DEGRADED * alone) - alone, STEP_SECONDS)
        waiting_first = self._first(prompts)
        least = max(CALM - 1, CROWD * (waiting_first - 1) / len(decoding)) * alone
        if waiting_first > 1:
            least = max(least, self._bulk * self._costs.cheapest())
        least = min(least, most)
        if _best(prompts) < _best(decoding):
            least = most
        waiting = self._due(prompts)
        if self._late(waiting, least, alone, now) is None:
            return Pace(seconds=least)
        urgent = self._late(waiting, most, alone, now)
        if urgent is not None:
            return Pace(seconds=most, urgent=urgent)
        enough, short = most, least
        for _ in range(HALVINGS):
            middle = (enough + short) / 2
            enough, short = (middle, short) if self._late(waiting, middle, alone, now) is None else (enough, middle)
        return Pace(seconds=enough)

    def decode_seconds(self, rows: Iterable[Sequence]) -> float:
        """Expected of a step that decodes these rows, their guesses included."""
        lines = [(1 + len(row.guesses), row.computed) for row in rows]
        return self._costs.decode_seconds(sum(count for count, _ in lines), sum(count * computed for count, computed in lines))

    def keeps_gap(self, rows: ReadOnlySequence[Sequence], *, share: float = 1.0) -> bool:
        """Whether the most demanding of `rows` has its gap, or `share` of it, while all of them decode."""
        if len(rows) > self._costs.most_lines:
            return False
        if len(rows) < 2 or not self._costs.knows_decode:
            return True
        context = sum(len(row.tokens) for row in rows)
        lone = self._costs.decode_seconds(1, context / len(rows))
        allowed = max(self._targets.gap(rows), DEGRADED * lone)
        return self._costs.decode_seconds(len(rows), context) <= share * allowed

    @staticmethod
    def _first(prompts: Iterable[Sequence]) -> int:
        """Those that wait for their first token."""
        return sum(not row.outputs for row in prompts)

    def _due(self, prompts: Iterable[Sequence]) -> list["_Due"]:
        """First tokens to come, in the order in which they are due."""
        due: list[_Due] = []
        for row in prompts:
            if not row.outputs:
                start = row.computed if row.turn.place else row.turn.charged_to
                due.append(_Due(self._targets.deadline(row), RANK[row.prompt.priority], start, len(row.tokens) - 1 - start))
        return sorted(due)

    def _late(self, waiting: Iterable["_Due"], seconds: float, alone: float, now: float) -> int | None:
        """The class of the first one that is late if each step has `seconds` for prompts; None if all are in time."""
        steps = 0.0
        for deadline, rank, start, tokens in waiting:
            chunk = min(self._costs.tokens_within(seconds, start + tokens // 2), max(1, tokens))
            steps += tokens / max(1, chunk)
            if now + steps * (alone + seconds) > deadline - (1 - EARLY) * (deadline - now):
                return rank
        return None


class _Due(NamedTuple):
    """A first token: when it is due, of which class, and how many prompt tokens are to be read for it behind `start`."""

    deadline: float
    rank: int
    start: int
    tokens: int


def _best(rows: Iterable[Sequence]) -> int:
    return min(RANK[row.prompt.priority] for row in rows)
