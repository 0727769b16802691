"""Where one row stands in its grammar."""

from copy import copy

from llguidance import LLMatcher

from pomona.core.errors import EngineFailed, PomonaError
from pomona.core.generation import Grammar


class GrammarPosition:
    """Advanced with each known token, so it outlives preemption. `matcher` is this row's own copy.

    A row is free until its grammar begins, then `active`, then `complete`, unless the grammar repeats: then free again.
    """

    def __init__(self, grammar: Grammar, matcher: LLMatcher) -> None:
        self._grammar = grammar
        self.matcher = matcher
        self._begun = False
        self.active = False
        self.complete = False
        if not grammar.after:
            self.begin()

    @property
    def masks(self) -> bool:
        """The matcher says what may follow. Where a grammar that repeats may end, anything may."""
        return self.active and not (self._grammar.repeats and self.matcher.is_accepting())

    @property
    def must_come(self) -> bool:
        """The grammar is still to begin, so the answer cannot end."""
        return not self.active and not self._grammar.repeats and not self.complete

    def starts_with(self, token: int) -> bool:
        """The grammar holds behind this token."""
        return not self.active and token in self._grammar.after

    def copy(self) -> "GrammarPosition":
        """The same place, to go on from by itself."""
        copied = copy(self)
        copied.matcher = self.matcher.deep_copy()
        return copied

    def begin(self) -> None:
        """The grammar holds from the next token on. Raises what `problem` says."""
        if self._begun and not self.matcher.reset():
            raise self.problem()
        self._begun = self.active = True
        self._end_if_stopped()

    def advance(self, token: int) -> None:
        """The next token is known. Raises EngineFailed if the grammar does not know how to go on."""
        if self.active and self._grammar.repeats and self.matcher.is_accepting() and not self.matcher.validate_tokens([token]):
            self.active = False
        if not self.active:
            if self.starts_with(token):
                self.begin()
            return
        if not self.matcher.consume_token(token):
            raise self.problem()
        self._end_if_stopped()

    def end(self) -> None:
        """Nothing more can follow in the grammar."""
        self.active = False
        self.complete = not self._grammar.repeats

    def problem(self) -> PomonaError:
        """Why the matcher gave up."""
        reason = self.matcher.get_error().split("\n", 1)[0]
        return EngineFailed(f"The grammar could not be followed any further: {reason}. Simplify it, or ask again.")

    def _end_if_stopped(self) -> None:
        if self.matcher.is_error():
            raise self.problem()
        if self.matcher.is_stopped():
            self.end()
