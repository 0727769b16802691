"""Reads thoughts and calls out of one answer, as its text comes."""

from collections.abc import Sequence

from pomona.core.generation import ReasoningDelta, TextDelta
from pomona.text.answers.plan import AnswerPlan
from pomona.text.reasoning.splitter import ThoughtSplitter
from pomona.text.tools.dialect import Piece


class AnswerReader:
    """For one answer. Whatever the pieces of text are, the pieces that come out add up to the same."""

    def __init__(self, plan: AnswerPlan) -> None:
        dialect = plan.dialect
        self._calls = dialect.parser(plan.tools) if dialect else None
        self._thoughts = _splitter(plan)
        self._channel_thought = False
        if dialect is not None and dialect.reads_thoughts and plan.appended:
            self.push(plan.appended)

    @property
    def thinking(self) -> bool:
        """What comes next belongs to a thought, as far as is known."""
        return self._thoughts.thinking if self._thoughts else self._channel_thought

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be read as a call and came back as text."""
        return tuple(self._calls.warnings) if self._calls else ()

    def push(self, text: str) -> list[Piece]:
        """What is certain now."""
        parts: Sequence[Piece] = self._thoughts.push(text) if self._thoughts else [TextDelta(text=text)]
        return self._with_calls(parts)

    def finish(self) -> list[Piece]:
        """The rest."""
        pieces = self._with_calls(self._thoughts.finish() if self._thoughts else [])
        return pieces + (self._calls.finish() if self._calls else [])

    def _with_calls(self, parts: Sequence[Piece]) -> list[Piece]:
        if self._calls is None:
            return list(parts)
        pieces: list[Piece] = []
        for part in parts:
            pieces += self._calls.push(part.text) if isinstance(part, TextDelta) else [part]
        if pieces and self._thoughts is None:
            self._channel_thought = isinstance(pieces[-1], ReasoningDelta)
        return pieces


def _splitter(plan: AnswerPlan) -> ThoughtSplitter | None:
    if plan.marks is None:
        return None
    also_ends = (plan.call_mark,) if plan.call_mark else ()
    return ThoughtSplitter(plan.marks, opened=plan.opened, again=plan.thinks_again, also_ends=also_ends)
