"""What each class of requests is to have, and how often it did not."""

from collections.abc import Iterable
from dataclasses import dataclass

from pomona.core.generation import Priority
from pomona.core.settings import EngineSettings
from pomona.engine.sequence import Sequence

PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")
RANK: dict[Priority, int] = {priority: rank for rank, priority in enumerate(PRIORITIES)}
"""The most urgent class is 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """In seconds: longest time to the first token, and between two tokens."""

    first_token: float
    gap: float


class Targets:
    """Those of one engine, and how often they were missed, by class."""

    def __init__(self, settings: EngineSettings) -> None:
        self._of: dict[Priority, Target] = {
            "high": Target(first_token=settings.high_first_token_seconds, gap=settings.high_gap_seconds),
            "normal": Target(first_token=settings.normal_first_token_seconds, gap=settings.normal_gap_seconds),
            "low": Target(first_token=settings.low_first_token_seconds, gap=settings.low_gap_seconds),
        }
        self.late_first_tokens: dict[Priority, int] = dict.fromkeys(PRIORITIES, 0)
        self.late_gaps: dict[Priority, int] = dict.fromkeys(PRIORITIES, 0)

    def of(self, row: Sequence) -> Target:
        """Those of the row's class."""
        return self._of[row.prompt.priority]

    def deadline(self, row: Sequence) -> float:
        """When its first token is due."""
        return row.turn.arrived + self.of(row).first_token

    def gap(self, rows: Iterable[Sequence]) -> float:
        """That of the most demanding of some rows."""
        return min(self.of(row).gap for row in rows)

    def note_tokens(self, row: Sequence, *, first: bool, now: float) -> None:
        """More tokens of the row were read, or its `first` ones."""
        turn = row.turn
        if turn.token_at is not None:
            self.late_gaps[row.prompt.priority] += now - turn.token_at > self.of(row).gap
        elif first and not row.prompt.answered_ids:
            self.late_first_tokens[row.prompt.priority] += now > self.deadline(row)
        turn.token_at = now
