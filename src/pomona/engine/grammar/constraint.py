"""All that binds one row: its grammar, and the limit of its thoughts. Known tokens in, what may come next out."""

from pomona.core.errors import PomonaError
from pomona.engine.grammar.position import GrammarPosition
from pomona.engine.grammar.thoughts import ThoughtLimit


class Constraint:
    """One row's. Forced tokens and grammar do not meet: nothing is forced while a grammar holds, and no grammar begins in between."""

    def __init__(self, grammar: GrammarPosition | None, limit: ThoughtLimit | None, stop_ids: tuple[int, ...] = ()) -> None:
        self.grammar = grammar
        self.stop_ids = stop_ids
        self._limit = limit
        self._begins = False

    @property
    def complete(self) -> bool:
        """The answer is done."""
        return self.grammar is not None and self.grammar.complete

    @property
    def forced(self) -> int | None:
        """The token that must come next, if there is just one."""
        return None if self._limit is None or (self.grammar and self.grammar.active) else self._limit.due

    @property
    def asks_matcher(self) -> bool:
        """The grammar says what may come next."""
        return self.grammar is not None and self.grammar.masks

    @property
    def needs_mask(self) -> bool:
        """Not every token may come next, as far as is known."""
        must_come = self.grammar is not None and self.grammar.must_come and bool(self.stop_ids)
        return self.asks_matcher or must_come or self.forced is not None

    def binds(self, pending: int) -> bool:
        """The next token's mask may depend on the last `pending` tokens, which are still on the device."""
        return self.grammar is not None or (self._limit is not None and self._limit.near(pending))

    def behind(self, token: int) -> "Constraint | None":
        """As it would be behind `token`; None if that cannot follow, or ends the answer."""
        copied = Constraint(self.grammar and self.grammar.copy(), self._limit and self._limit.copy(), self.stop_ids)
        copied._begins = self._begins
        try:
            copied.advance(token)
        except PomonaError:
            return None
        return None if copied.complete else copied

    def advance(self, token: int) -> None:
        """The next token is known. Raises EngineFailed."""
        forced = self.forced
        if self._limit is not None:
            self._limit.advance(token)
        if self.grammar is None:
            return
        if forced is None:
            self.grammar.advance(token)
            return
        self._begins = self._begins or self.grammar.starts_with(token)
        if self._begins and self.forced is None:
            self._begins = False
            self.grammar.begin()
