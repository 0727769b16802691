"""A model that fails again and again is left alone for a while."""

import time
from collections.abc import Callable
from copy import copy

from pomona.core.errors import EngineSuspended, PomonaError
from pomona.core.status import BreakerState

PAUSE_SECONDS = 15.0
"""After the first time. Each further one without progress takes twice as long."""
LONGEST_PAUSE_SECONDS = 240.0


class Breaker:
    """One model's, for as long as Pomona runs: its engines come and go. It opens when a model cannot be loaded, and when its engines
    died more than `max_failures` times in a row with no token made in between.

    While it is open, requests are refused at once. When the pause is over it is half open: the model is loaded again, and rows are
    tried one at a time (`Readmission`). A token, or a load where loading had failed, closes it; a failure opens it again.
    """

    def __init__(self, max_failures: int = 5, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = max_failures
        self._clock = clock
        self._until: float | None = None
        self._openings = 0
        self._died = False
        self.failures = 0
        """In a row."""
        self.problem: PomonaError | None = None
        """Why it is not closed."""

    @property
    def state(self) -> BreakerState:
        """As of now."""
        if self._until is None:
            return "closed"
        return "open" if self._clock() < self._until else "half_open"

    @property
    def retry_seconds(self) -> float:
        """Until the next try; 0 where one is allowed."""
        return 0.0 if self._until is None else max(0.0, self._until - self._clock())

    def check(self) -> None:
        """Raises EngineSuspended, or why the model could not be loaded, while it is open."""
        if self.state == "open":
            raise self.refusal()

    def refusal(self) -> PomonaError:
        """What those are told who come too early."""
        problem, seconds = self.problem, self.retry_seconds
        if problem is not None and not self._died:
            return copy(problem)
        last = f" The last time: {problem.message}" if problem else ""
        return EngineSuspended(
            f"The engine died {self.failures} times in a row and made no token in between. It is started again in {seconds:.0f} seconds; "
            f"try again then.{last}",
            retry_after=max(1.0, seconds),
        )

    def note_end(self, problem: PomonaError, *, steady: bool = False) -> bool:
        """An engine ended by itself; after a `steady` life, that is the first time in a row. True if it is not to be started again."""
        self.failures = 1 if steady else self.failures + 1
        if self.failures > self._most:
            self._died = True
            self._openings += 1
            self._open(problem, min(LONGEST_PAUSE_SECONDS, PAUSE_SECONDS * 2.0 ** (self._openings - 1)))
        return self.failures > self._most

    def note_progress(self) -> None:
        """An engine made a token, or a vector."""
        if self.failures or self._until is not None:
            self.reset()

    def note_load_failure(self, problem: PomonaError) -> None:
        """The model cannot be loaded."""
        self._died = False
        self._open(problem, PAUSE_SECONDS)

    def note_load(self) -> None:
        """The model is there."""
        if not self._died:
            self.reset()

    def reset(self) -> None:
        """As if nothing had happened: also when a person asks for the model."""
        self.failures = self._openings = 0
        self._died, self._until, self.problem = False, None, None

    def _open(self, problem: PomonaError, seconds: float) -> None:
        self.problem, self._until = problem, self._clock() + seconds
