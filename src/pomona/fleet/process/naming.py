"""Which prompt a row of an engine is for: engines number their rows, and tell of others by number."""

from dataclasses import replace

from pomona.core.generation import TokenStep
from pomona.core.tracing.times import RowTimes

REMEMBERED = 4096
"""Rows; those that ended too, since others tell of them later."""


class RowNames:
    """The prompts of the last rows of one engine."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def note(self, row_id: str, prompt_id: str) -> None:
        """A row is for that prompt."""
        self._names[row_id] = prompt_id
        if len(self._names) > REMEMBERED:
            del self._names[next(iter(self._names))]

    def in_words(self, step: TokenStep) -> TokenStep:
        """`step`, where its times tell of prompts and not of rows."""
        if step.times is None or not step.times.delays:
            return step
        return replace(step, times=self._named(step.times))

    def _named(self, times: RowTimes) -> RowTimes:
        delays = tuple(replace(delay, by=self._names.get(delay.by, "")) for delay in times.delays)
        return replace(times, delays=delays)
