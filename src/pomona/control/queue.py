"""How many answers are at work, who of them waits, and for how long that may take.

The order of rows is the engine's: it knows pages, priorities and shared beginnings. Nothing is held back here, where the batch would only
run empty; requests are counted, so that one too many is refused before any work, with the status and the time that its client understands,
and one that will wait can be told so.
"""

from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import get_args

from pomona.control.callers import at_least
from pomona.core.errors import Overloaded
from pomona.core.generation import Finished, GenerateEvent, Priority, Started

_FIRST_SERVICE_SECONDS = 5.0
_LEARNING_RATE = 0.1
_REMEMBERED_WAITS = 1024
_LEAST_RETRY_SECONDS, _MOST_RETRY_SECONDS = 1.0, 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A place in the queue, from 1, and an estimate of the time in it."""

    position: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueReport:
    """The queue, now. `waiting` are answers of which no token was seen yet, by priority; `entered`, `finished` and `refused` count
    calls since the start, `waits` are the seconds until the first token of the last ones.
    """

    rows: int
    places: int
    running: int
    waiting: Mapping[Priority, int]
    entered: int
    finished: int
    refused: int
    waits: Sequence[float]


@dataclass(slots=True, kw_only=True, eq=False)
class Place:
    """The answers of one call. `clock` is the queue's."""

    count: int
    priority: Priority
    entered: float
    clock: Callable[[], float]
    waited: float | None = None
    """Until the first token of one was seen."""
    finished: bool = False

    def see(self, event: GenerateEvent) -> None:
        """An event of one of the answers."""
        if self.waited is None and not isinstance(event, Started):
            self.waited = self.clock() - self.entered
        self.finished = isinstance(event, Finished)


class Queue:
    """Counts answers: `rows` run at a time, `places` may run and wait. `clock` is in seconds and only rises.

    `backlog` tells how many requests the engine says are waiting, for want of pages for example.
    """

    def __init__(
        self, *, rows: int, places: int, clock: Callable[[], float], backlog: Callable[[], int], most_seconds: float | None = None
    ) -> None:
        self._rows = rows
        self._places = places
        self._clock = clock
        self._backlog = backlog
        self._most_seconds = most_seconds
        self._taken: set[Place] = set()
        self._service_seconds = _FIRST_SERVICE_SECONDS
        self._entered = self._finished = self._refused = 0
        self._waits: deque[float] = deque(maxlen=_REMEMBERED_WAITS)

    def report(self) -> QueueReport:
        """How full it is and what became of those who came."""
        waiting: dict[Priority, int] = dict.fromkeys(get_args(Priority), 0)
        for place in self._taken:
            waiting[place.priority] += place.count if place.waited is None else 0
        return QueueReport(
            rows=self._rows,
            places=self._places,
            running=self.count - sum(waiting.values()),
            waiting=waiting,
            entered=self._entered,
            finished=self._finished,
            refused=self._refused,
            waits=tuple(self._waits),
        )

    @property
    def count(self) -> int:
        """Answers that run or wait."""
        return sum(place.count for place in self._taken)

    def check(self, count: int, priority: Priority) -> Wait | None:
        """Whether `count` more answers find room, and how they have to wait, if they do. Raises Overloaded."""
        if count == 0:
            return None
        taken = self.count
        if taken + count > self._places:
            text = f"{taken} answers run or wait already, of {self._places} that may."
            raise self._overloaded(f"{text} Try again later, or raise engine.max_waiting.", taken - self._rows + 1)
        wait = self._wait(taken + count, priority)
        if wait and self._most_seconds is not None and wait.seconds > self._most_seconds:
            text = f"The wait is about {wait.seconds:.0f} seconds, longer than limits.max_wait_seconds = {self._most_seconds:g}."
            raise self._overloaded(f"{text} Try again later.", wait.position)
        return wait

    @contextmanager
    def place(self, count: int, priority: Priority) -> Generator[Place]:
        """Room for `count` answers while inside; those that come to their end tell how long one takes. Raises Overloaded."""
        self.check(count, priority)
        place = Place(count=count, priority=priority, entered=self._clock(), clock=self._clock)
        self._taken.add(place)
        self._entered += 1
        try:
            yield place
        finally:
            self._leave(place)

    def _leave(self, place: Place) -> None:
        self._taken.remove(place)
        self._finished += place.finished
        if place.waited is not None and place.count:
            self._waits.append(place.waited)
        if place.finished and place.count:
            self._service_seconds += _LEARNING_RATE * (self._clock() - place.entered - self._service_seconds)

    def _wait(self, taken: int, priority: Priority) -> Wait | None:
        backlog = self._backlog()
        position = max(taken - self._rows, backlog + 1 if backlog else 0)
        if position <= 0:
            return None
        before = sum(place.count for place in self._taken if place.waited is None and at_least(place.priority, priority))
        position = max(1, min(position, before + 1))
        return Wait(position=position, seconds=self._seconds(position))

    def _seconds(self, position: int) -> float:
        """A row becomes free every `service time / rows`, on average."""
        return position * self._service_seconds / self._rows

    def _overloaded(self, text: str, position: int) -> Overloaded:
        self._refused += 1
        seconds = min(max(self._seconds(position), _LEAST_RETRY_SECONDS), _MOST_RETRY_SECONDS)
        return Overloaded(text, retry_after=seconds)
