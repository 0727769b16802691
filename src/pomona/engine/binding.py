"""Rows and what binds them: from a prompt's grammar to the masks of a pass.

A row's grammar is compiled in another thread while its prompt waits and is computed. The row is `held`, so that no token of it is
chosen, until the matcher is there.
"""

from collections.abc import Sequence as ReadOnlySequence
from concurrent.futures import FIRST_COMPLETED, Future, wait

from llguidance import LLMatcher

from pomona.core.errors import EngineFailed, PomonaError
from pomona.engine.grammar.compiler import GrammarCompiler
from pomona.engine.grammar.constraint import Constraint
from pomona.engine.grammar.masks import MaskMaker, Verdicts
from pomona.engine.grammar.position import GrammarPosition
from pomona.engine.grammar.thoughts import ThoughtLimit
from pomona.engine.sequence import Sequence

Failures = list[tuple[Sequence, PomonaError]]


class Binder:
    """Keeps the constraints of all rows. `grammars` is None where the tokenizer is not known."""

    def __init__(self, vocabulary: int, grammars: GrammarCompiler | None) -> None:
        self._vocabulary = vocabulary
        self._compiler = grammars
        self._masks = MaskMaker(vocabulary)
        self._compiling: dict[Sequence, Future[LLMatcher]] = {}

    @property
    def takes_grammars(self) -> bool:
        """Rows may have one."""
        return self._compiler is not None

    @property
    def compiling(self) -> int:
        """Rows that wait for their grammars."""
        return len(self._compiling)

    def bind(self, row: Sequence) -> None:
        """A new row: begin what its prompt asks for. Raises EngineFailed where what was answered before does not fit its grammar."""
        grammar = row.prompt.grammar
        if grammar is not None and self._compiler is not None and row.prompt.max_tokens:
            row.held = True
            self._compiling[row] = self._compiler.compile(grammar.source)
        else:
            row.constraint = self._constraint(row, None)

    def forget(self, row: Sequence) -> None:
        """The row has ended."""
        self._compiling.pop(row, None)
        row.constraint = None

    def settle(self) -> Failures:
        """Let go of the rows whose grammars are ready; those whose grammars cannot be used."""
        failures: Failures = []
        for row in [row for row, future in self._compiling.items() if future.done()]:
            future = self._compiling.pop(row)
            error = future.exception() or self._release(row, future.result())
            if error is not None:
                surprise = EngineFailed(f"The grammar could not be compiled: {type(error).__name__}: {error}")
                failures.append((row, error if isinstance(error, PomonaError) else surprise))
        return failures

    def wait(self, seconds: float) -> None:
        """Until some grammar is ready, at most so long."""
        wait(self._compiling.values(), seconds, FIRST_COMPLETED)

    def masks(self, rows: ReadOnlySequence[Sequence]) -> Verdicts:
        """What the next tokens of `rows` may be. All their tokens so far must be known."""
        return self._masks.make([row.constraint for row in rows], self._end_id(rows))

    def masks_ahead(self, rows: ReadOnlySequence[Sequence]) -> Verdicts:
        """As `masks`, with a line for each guess of the rows too. Guesses that cannot be are taken off. Verdicts are by row: they are of
        the rows' first lines, as a row goes no further than to a guess behind which something may follow.
        """
        while True:
            ahead = [constraints_ahead(row) for row in rows]
            lines = [(place, count) for place, states in enumerate(ahead) for count in range(len(states))]
            verdicts = self._masks.make([ahead[place][count] for place, count in lines], self._end_id(rows))
            troubled = [lines[line] for line in (*verdicts.ended, *(line for line, _ in verdicts.failed))]
            late = [(place, count) for place, count in troubled if count]
            if not late:
                ended = [lines[line][0] for line in verdicts.ended]
                return Verdicts(verdicts.masks, ended, [(lines[line][0], error) for line, error in verdicts.failed])
            for place, count in late:
                rows[place].guesses = rows[place].guesses[: min(count - 1, len(rows[place].guesses))]

    def close(self) -> None:
        """End the threads."""
        if self._compiler is not None:
            self._compiler.close()

    def _end_id(self, rows: ReadOnlySequence[Sequence]) -> int:
        """The bit that says that a grammar may end."""
        asked = self._compiler is not None and any(row.constraint and row.constraint.grammar for row in rows)
        return (self._compiler.end_id if self._compiler and asked else 0) or self._vocabulary

    def _release(self, row: Sequence, matcher: LLMatcher) -> PomonaError | None:
        """The row may go on; else why it cannot."""
        try:
            row.constraint, row.held = self._constraint(row, matcher.deep_copy()), False
        except PomonaError as error:
            return error
        return None

    def _constraint(self, row: Sequence, matcher: LLMatcher | None) -> Constraint | None:
        prompt = row.prompt
        grammar = GrammarPosition(prompt.grammar, matcher) if prompt.grammar and matcher else None
        limit = ThoughtLimit(prompt.reasoning_limit) if prompt.reasoning_limit else None
        if grammar is None and limit is None:
            return None
        constraint = Constraint(grammar, limit, tuple(stop for stop in prompt.stop_token_ids if 0 <= stop < self._vocabulary))
        for token in prompt.answered_ids:
            if token not in prompt.stop_token_ids and not constraint.complete:
                constraint.advance(token)
        return constraint


def constraints_ahead(row: Sequence) -> list[Constraint | None]:
    """The row's constraint as it is, and as it would be behind each of its guesses; those that cannot follow are taken off."""
    if row.constraint is None:
        return [None] * (len(row.guesses) + 1)
    states = [row.constraint]
    for count, guess in enumerate(row.guesses):
        after = None if guess in row.prompt.stop_token_ids else states[-1].behind(guess)
        if after is None:
            row.guesses = row.guesses[:count]
            break
        states.append(after)
    return [*states]


def must_wait(rows: ReadOnlySequence[Sequence]) -> bool:
    """Whether the host has to read the rows' last tokens before it can say what may come next."""
    return any(row.constraint is not None and row.constraint.binds(row.pending) for row in rows)
