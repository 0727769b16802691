"""How long the next step may take, so that nobody takes a long one for a hang. Said only where it may be long."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the gateway imports this module, and must not import mlx
    from pomona.engine.scheduling.scheduler import Plan
    from pomona.engine.sequence import Sequence

QUIET_SECONDS = 2.0
"""Steps that are expected to be shorter are begun without a word: a quarter of the silence that `fleet.hang_seconds` allows."""
FIRST_SECONDS = 60.0
"""For the first step of a kind where kernels are compiled: on CUDA there may be tens, of 0.2 to 2 s each."""
PICTURE_SECONDS = 120.0
"""For the first pass with pictures of a kind: the vision part of a model on a CPU."""
MARGIN = 4.0
"""Times the longest step of a kind so far: the machine may have something else to do."""
PART_MARGIN = 16.0
"""Times an equal share of the longest step, for one of the parts of a step: they differ, and the last one holds the vocabulary."""
FADING = 0.9
"""Of the longest step of a kind, with each shorter one: what was slow once need not be slow again."""
ADAPTER_SECONDS = 60.0
"""For an adapter that is read from a disk, which may be slow and far away."""

Kind = tuple[object, ...]


Tell = Callable[[float, bool], None]
"""Seconds that what begins now may take, and whether the CPU has something to do all the time."""


class Outlook:
    """One engine's. `tell` is called right before a step that may take long; `ran` is to be called after each step.

    Steps are of one kind where they decode about as many rows and compute about as many tokens of prompts, by powers of two. What a kind
    took says what it will take; before that, each token as much as the slowest one so far, and `FIRST_SECONDS` where it is `compiling`.
    `computing`: no step leaves the CPU idle.

    A step that was announced is computed in parts, and `part` is called before each: so a loop without end in one of many layers is
    found in the time of a few layers, not of the step.
    """

    def __init__(self, *, compiling: bool, computing: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        self.tell: Tell = lambda seconds, computing: None
        self._first_seconds = FIRST_SECONDS if compiling else 0.0
        self._computing = computing
        self._clock = clock
        self._began = clock()
        self._kind: Kind = ()
        self._first = True
        self._unmeasured = True
        self._told_seconds = 0.0
        self._likely_seconds = 0.0
        self._tokens = 1
        self._seconds_per_token = 0.0
        self._longest: dict[Kind, float] = {}
        self._provisional: set[Kind] = set()
        """Kinds of which one step is known, in which kernels were compiled."""
        self._asked: set[Kind] = set()

    def look_at_adapter(self) -> None:
        """One is about to be read."""
        self.tell(ADAPTER_SECONDS, False)

    def look(self, plan: "Plan") -> None:
        """A step begins to compute what was planned."""
        self._began = self._clock()
        prefill = sum(tokens for _, tokens in plan.prefill)
        self._tokens = max(1, prefill + len(plan.decode))
        pictures = any(row.pictures for row, _ in plan.prefill)
        kind = (len(plan.decode).bit_length(), prefill.bit_length(), len(plan.prefill).bit_length(), pictures)
        rows = [row for row, _ in plan.prefill] if kind == self._kind else [*plan.decode, *(row for row, _ in plan.prefill)]
        self._kind = kind
        expected = self._expected(kind, new=self._asks_for_something_new(rows))
        self._told_seconds = expected if expected > QUIET_SECONDS else 0.0
        if self.announced:
            self.tell(expected, self._computing)

    @property
    def announced(self) -> bool:
        """The present step may take long."""
        return self._told_seconds > 0

    def part(self, number: int, layers: int, parts: int) -> None:
        """Part `number` of a step's `parts` begins. Those behind the first up to the last of `layers` compile nothing new."""
        known = not self._unmeasured or 0 < number < layers
        self.tell(min(self._told_seconds, PART_MARGIN * self._likely_seconds / parts) if known else self._told_seconds, self._computing)

    def ran(self) -> None:
        """The step is over."""
        seconds = self._clock() - self._began
        longest = self._longest.get(self._kind, 0.0)
        self._longest[self._kind] = seconds if self._kind in self._provisional else max(seconds, FADING * longest)
        self._provisional.discard(self._kind)
        if self._first and self._first_seconds:  # what was compiled is no price of tokens
            self._provisional.add(self._kind)
        else:
            self._seconds_per_token = max(self._seconds_per_token, seconds / self._tokens)

    def _expected(self, kind: Kind, *, new: bool) -> float:
        known = self._longest.get(kind)
        self._first = known is None or new
        pictures = known is None and kind[-1] is True
        self._unmeasured = pictures or (self._first and self._first_seconds > 0)
        self._likely_seconds = self._tokens * self._seconds_per_token if known is None else known
        expected = self._likely_seconds * (1.0 if known is None else MARGIN) + (self._first_seconds if self._first else 0.0)
        return max(expected, PICTURE_SECONDS) if pictures else expected

    def _asks_for_something_new(self, rows: "list[Sequence]") -> bool:
        """Ways of choosing tokens that no row had before: each has operations of its own."""
        asked = {_asks(row) for row in rows} - self._asked
        self._asked |= asked
        return bool(asked)


def _asks(row: "Sequence") -> Kind:
    params = row.prompt.sampling
    return (
        params.temperature > 0,
        params.top_k > 0 or params.top_p < 1,
        params.min_p > 0,
        params.repetition_penalty != 1 or bool(params.presence_penalty or params.frequency_penalty),
        bool(params.logit_bias),
        params.logprobs is None,
        row.prompt.grammar is None and row.prompt.reasoning_limit is None,
        row.prompt.adapter is None,
        row.prompt.prompt_logprobs is None,
    )
