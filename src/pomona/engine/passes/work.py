"""One forward pass, from when it is built until its tokens are read."""

from dataclasses import dataclass, field

import mlx.core as mx

from pomona.engine.sampling import Sampled
from pomona.engine.scores import Scores
from pomona.engine.sequence import Sequence


@dataclass(slots=True, eq=False)
class Pass:
    """A forward pass that was built. `logits` (rows, vocabulary) are there until tokens are chosen, `sampled` from then on.

    `scores` are those of a prompt from token `scores_start` on; such a pass has one row.
    """

    rows: list[Sequence]
    guesses: list[list[int]] = field(default_factory=list[list[int]])
    """By row, in a pass that checks guesses: then each row has a line for its last token and one for each guess, not one alone."""
    counts: list[int] = field(default_factory=list[int])
    """By row, the prompt tokens that it computes; none, if it makes tokens."""
    waited: bool = False
    """It was built when the tokens of the pass before it had been read."""
    written: list[mx.array] = field(default_factory=list[mx.array])
    last_written: mx.array | None = None
    """What a pass that was started ahead of another's end is waited for, if it makes no tokens."""
    logits: mx.array | None = None
    sampled: Sampled | None = None
    scores: Scores | None = None
    scores_start: int = 0

    @property
    def lines(self) -> list[Sequence]:
        """The row that each line of `logits` and `sampled` belongs to."""
        return [row for row, guesses in zip(self.rows, self.guesses, strict=True) for _ in (0, *guesses)] if self.guesses else self.rows

    @property
    def ahead(self) -> list[list[int]]:
        """The guesses before each line."""
        return [guesses[:count] for guesses in self.guesses for count in range(len(guesses) + 1)]

    def take_arrays(self) -> list[mx.array]:
        """All that must be computed, handed out once: what was written must not be held, or it could not be written in place."""
        arrays, self.written = self.written, []
        arrays += [] if self.logits is None else [self.logits]
        for part in (self.sampled, self.scores):
            arrays += part.arrays if part else []
        return arrays
