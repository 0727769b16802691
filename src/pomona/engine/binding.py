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
        """A new row: begin what its prompt asks for."""
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
            error = future.exception()
            if error is None:
                row.constraint, row.held = self._constraint(row, future.result().deep_copy()), False
            else:
                surprise = EngineFailed(f"The grammar could not be compiled: {type(error).__name__}: {error}")
                failures.append((row, error if isinstance(error, PomonaError) else surprise))
        return failures

    def wait(self, seconds: float) -> None:
        """Until some grammar is ready, at most so long."""
        wait(self._compiling.values(), seconds, FIRST_COMPLETED)

    def masks(self, rows: ReadOnlySequence[Sequence]) -> Verdicts:
        """What the next tokens of `rows` may be. All their tokens so far must be known."""
        end_id = self._compiler.end_id if self._compiler and any(row.constraint and row.constraint.grammar for row in rows) else 0
        return self._masks.make([row.constraint for row in rows], end_id or self._vocabulary)

    def close(self) -> None:
        """End the threads."""
        if self._compiler is not None:
            self._compiler.close()

    def _constraint(self, row: Sequence, matcher: LLMatcher | None) -> Constraint | None:
        prompt = row.prompt
        grammar = GrammarPosition(prompt.grammar, matcher) if prompt.grammar and matcher else None
        limit = ThoughtLimit(prompt.reasoning_limit) if prompt.reasoning_limit else None
        if grammar is None and limit is None:
            return None
        return Constraint(grammar, limit, tuple(stop for stop in prompt.stop_token_ids if 0 <= stop < self._vocabulary))


def must_wait(rows: ReadOnlySequence[Sequence]) -> bool:
    """Whether the host has to read the rows' last tokens before it can say what may come next."""
    return any(row.constraint is not None and row.constraint.binds(row.pending) for row in rows)
