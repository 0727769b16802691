"""How rows come back after their engine has died: one at a time, so that the next death has one suspect."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from pomona.fleet.process.client import EngineClient

TRIAL_SECONDS = 2.0
"""A row that has made nothing for so long, such as one with a long prompt, does not keep the next one waiting."""
SILENT_SECONDS = 1.0
"""An engine that says nothing for so long takes no further row either. If it hangs, the row on trial must be the only one to blame."""
PRIORITIES = {"high": 0, "normal": 1, "low": 2}


@dataclass(slots=True, kw_only=True, eq=False)
class Survivor:
    """One answer, whichever engine makes it. `digest` makes what an equal request is known by."""

    digest: Callable[[], bytes]
    priority: int
    arrival: int
    answered: list[int] = field(default_factory=list[int])
    resumes: int = 0
    strikes: float = 0.0
    """Engines in a row that died when this one alone had made nothing, or was alone."""
    fresh: bool = True
    """It has made nothing in its present engine."""

    @property
    def order(self) -> tuple[float, int, int]:
        """Its place in line, the lowest first: suspects come last."""
        return self.strikes, self.priority, self.arrival


class Readmission:
    """One model's rows, and those that wait to be. One event loop.

    As a rule rows are let in at once. After a death, those that come back are let in one at a time: the next one when the one before
    has made a token, and while there are fewer than `places` inside. New ones wait behind them. When all who came back have made a
    token, the line ends. `trial`: begin like that, as after a death.
    """

    def __init__(self, places: int, *, trial: bool = False, progress: Callable[[], None] = lambda: None) -> None:
        self._places = places
        self._one_at_a_time = trial
        self._progress = progress
        self._inside: dict[Survivor, EngineClient] = {}
        self._line: dict[Survivor, asyncio.Future[bool]] = {}
        self._trial: Survivor | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Rows in line."""
        return len(self._line)

    async def enter(self, row: Survivor, client: EngineClient) -> bool:
        """Wait until `row` may go to `client`'s engine; False if that ended meanwhile."""
        if client.ended.done():
            return False
        if self._one_at_a_time:
            turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            self._line[row] = turn
            asyncio.get_running_loop().call_soon(self._next)  # those that wake in this moment, too, are in line by then
            try:
                if not await turn or client.ended.done():
                    return False
            except asyncio.CancelledError:
                self.leave(row)
                raise
            finally:
                self._line.pop(row, None)
        row.fresh = True
        self._inside[row] = client
        return True

    def moved(self, row: Survivor) -> None:
        """The engine made something for `row`: it is no suspect, and what was held against it is forgotten."""
        if row.fresh:
            row.fresh, row.strikes = False, 0
            self._progress()
            if self._trial is row:
                self._trial = None
            if self._one_at_a_time and self._trial is None:
                self._end_line()

    def leave(self, row: Survivor) -> None:
        """The engine is done with `row`, or nobody wants it any more."""
        self._inside.pop(row, None)
        if self._trial is row:
            self._trial = None
        self._next()

    def fell(self, client: EngineClient, *, strike: float) -> Survivor | None:
        """`client`'s engine has died, and all rows inside with it. The one that gets the `strike` for it, if one does; 0 is for nobody."""
        inside = [row for row, its in self._inside.items() if its is client]
        for row in inside:
            del self._inside[row]
        self._trial = None
        self._one_at_a_time = self._one_at_a_time or bool(inside)
        for turn in self._line.values():
            if not turn.done():
                turn.set_result(False)
        suspect = suspect_among(inside)
        if not strike or suspect is None:
            return None
        suspect.strikes += strike
        return suspect

    def _next(self) -> None:
        """Let the first in line in, if it is its turn."""
        line = sorted((row for row, turn in self._line.items() if not turn.done()), key=lambda row: row.order)
        if line and self._trial is None and len(self._inside) < self._places:
            self._trial = line[0]
            self._line[line[0]].set_result(True)
            self._look_again(TRIAL_SECONDS, line[0])

    def _look_again(self, seconds: float, row: Survivor) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._overdue, row)

    def _overdue(self, row: Survivor) -> None:
        if self._trial is not row:
            return
        client = self._inside.get(row)
        if client is not None and client.silent_seconds > SILENT_SECONDS:
            self._look_again(SILENT_SECONDS, row)
        else:
            self._trial = None
            self._next()

    def _end_line(self) -> None:
        """All may come in once nobody is in line who was inside when the engine died."""
        if any(row.resumes for row, turn in self._line.items() if not turn.done()):
            self._next()
            return
        self._one_at_a_time = False
        for turn in self._line.values():
            if not turn.done():
                turn.set_result(True)


def suspect_among(inside: list[Survivor]) -> Survivor | None:
    """The only one that has made nothing in this engine, or the only one at all; None where it may have been any."""
    fresh = [row for row in inside if row.fresh]
    suspects = fresh if len(fresh) == 1 else inside
    return suspects[0] if len(suspects) == 1 else None
