"""Where the time of rows goes, from the times at which passes end.

The seconds between two ends belong to the pass that ended. A pass over prompts goes into a log, with whose tokens it computed; a row
reads the log only when its stage changes or its times are told, so a pass costs a few additions for each of its rows, and a row
that only waits costs nothing.
"""

import time
from collections.abc import Callable, Collection
from collections.abc import Sequence as ReadOnlySequence
from itertools import islice
from typing import NamedTuple, Protocol

from pomona.core.tracing.times import RowTimes, Stage
from pomona.engine.timeline.watch import RowWatch

TOLD_SECONDS = 0.5
"""Between two times that a row's times are handed out before its end, for those who look at it while it runs."""
MOST_PASSES = 2048
"""Kept in the log; who waits for longer than that learns the seconds, but not whose prompts they were."""
LOOKED_AT = 64
"""Waiting rows whose reasons are looked at in one step."""
_REASONS: tuple[Stage, ...] = ("rows", "pages", "turn")
_BLAMES: frozenset[Stage] = frozenset({"turn", "prefill", "decode"})
"""Stages in which other rows' prompts are in the way; in the first only while nothing else was short."""


class _Prompts(NamedTuple):
    """A pass over prompts."""

    end: float
    seconds: float
    blocked: Stage
    ids: tuple[str, ...]
    counts: tuple[int, ...]


class Turn(Protocol):
    """What a scheduler notes of a row."""

    parked: bool


class TimedRow(Protocol):
    """A row with a watch: `pomona.engine.sequence.Sequence`."""

    watch: RowWatch
    paused: bool
    held: bool
    awaits_adapter: bool
    awaits_pages: bool
    shares: bool

    @property
    def turn(self) -> Turn:
        """Of the scheduler."""
        ...

    @property
    def id(self) -> str:
        """By which others know it."""
        ...

    @property
    def prefill_left(self) -> int:
        """Prompt tokens that are still to be computed."""
        ...


class Queues(Protocol):
    """The rows of a scheduler: those that have a place, those that wait for one, and what the first of them wait for."""

    blocked: Stage

    @property
    def set_back(self) -> int:
        """Times that a running row lost its place."""
        ...

    @property
    def running(self) -> ReadOnlySequence[TimedRow]:
        """In their order."""
        ...

    @property
    def waiting(self) -> Collection[TimedRow]:
        """In their order."""
        ...


class Timeline:
    """One per engine. `clock` is in seconds; where that is `time.monotonic`, other processes understand its times."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._mark = clock()
        self._log: list[_Prompts] = []
        self._forgotten = 0
        self._waits = dict.fromkeys(_REASONS, 0.0)
        self._set_back = 0
        self._blocked: Stage = "turn"

    def add(self, row: TimedRow) -> None:
        """The engine takes a row."""
        watch = row.watch
        watch.began = watch.since = self._clock()
        watch.stage = "adapter" if row.awaits_adapter else "turn"
        self._baseline(watch)

    def begin(self, *, idle: bool) -> None:
        """A step begins; `idle`: no pass is on its way."""
        if idle:
            self._pass_time()

    def look(self, rows: Queues) -> None:
        """The work of a step was chosen: see what each row does now."""
        for row in rows.running:
            stage = row.watch.stage
            if ((stage == "decode" and not row.held) or stage == "prefill") and not row.paused:
                continue
            self._enter(row, _stage_of(row))
        if rows.waiting:
            for row in islice(rows.waiting, LOOKED_AT if rows.set_back == self._set_back else None):
                self._enter(row, _reason_of(row))
        self._set_back, self._blocked = rows.set_back, rows.blocked

    def ended(self, rows: ReadOnlySequence[TimedRow], counts: ReadOnlySequence[int] = ()) -> None:
        """A pass has ended. `counts` are the prompt tokens of each row; none: the pass made tokens."""
        seconds = self._pass_time()
        if not counts:
            share = seconds / max(1, len(rows))
            for row in rows:
                watch = row.watch
                watch.own += seconds
                watch.decode_passes += 1
                watch.decode_share += share
            return
        for row, count in zip(rows, counts, strict=True):
            watch = row.watch
            watch.own += seconds
            watch.prefill_passes += 1
            watch.prefill_tokens += count
        self._log.append(_Prompts(self._mark, seconds, self._blocked, tuple(row.id for row in rows), tuple(counts)))
        for row in rows:
            if row.watch.stage == "prefill" and row.prefill_left <= 0:
                self._enter(row, "decode")
        if len(self._log) >= 2 * MOST_PASSES:
            self._forgotten += MOST_PASSES
            del self._log[:MOST_PASSES]

    def tell(self, row: TimedRow, *, last: bool) -> RowTimes | None:
        """The row's times, where they are due: with its first token, now and then, and at its end."""
        watch = row.watch
        if not last and self._mark - watch.told < TOLD_SECONDS:
            return None
        watch.told = self._mark
        self._read_log(row.id, watch)
        return watch.times(self._clock() if last else max(self._mark, watch.since))

    def _pass_time(self) -> float:
        now = self._clock()
        seconds, self._mark = now - self._mark, now
        self._waits[self._blocked] = self._waits.get(self._blocked, 0.0) + seconds
        return seconds

    def _enter(self, row: TimedRow, stage: Stage) -> None:
        watch = row.watch
        if stage == watch.stage:
            return
        self._read_log(row.id, watch)
        end = max(self._mark, watch.since)  # it may have come while a pass ran
        if watch.stage in _REASONS:
            self._close_wait(watch, end)
        else:
            watch.close(watch.stage, end)
        watch.stage = stage
        self._baseline(watch)

    def _close_wait(self, watch: RowWatch, end: float) -> None:
        """A wait may have had several reasons, one after the other: what the engine as a whole was short of."""
        behind, watch.behind = watch.behind, 0.0
        spent = {reason: self._waits[reason] - before for reason, before in zip(_REASONS, watch.waits, strict=True)}
        for reason in ("rows", "pages"):
            seconds = min(spent[reason], end - watch.since)
            if seconds > 0:
                watch.close(reason, watch.since + seconds)
        watch.behind = behind
        watch.close("turn", end)

    def _baseline(self, watch: RowWatch) -> None:
        watch.place = self._forgotten + len(self._log)
        watch.waits = tuple(self._waits[reason] for reason in _REASONS)

    def _read_log(self, row_id: str, watch: RowWatch) -> None:
        """Count the passes over other rows' prompts since the log was read last."""
        if watch.stage in _BLAMES:
            for entry in self._log[max(0, watch.place - self._forgotten) :]:
                if row_id not in entry.ids and (entry.blocked == "turn" or watch.stage != "turn"):
                    _blame(watch, entry, min(entry.seconds, entry.end - watch.since))
        watch.place = self._forgotten + len(self._log)


def _blame(watch: RowWatch, entry: _Prompts, seconds: float) -> None:
    tokens = sum(entry.counts)
    for other, count in zip(entry.ids, entry.counts, strict=True):
        watch.delay(other, seconds * count / max(1, tokens), count)


def _stage_of(row: TimedRow) -> Stage:
    """Of a row that has its place."""
    if row.paused:
        return "reader"
    if row.prefill_left > 0:
        return "prefill"
    return "grammar" if row.held else "decode"


def _reason_of(row: TimedRow) -> Stage:
    """Why a row waits."""
    stage = row.watch.stage
    if row.awaits_adapter:
        return "adapter"
    if row.awaits_pages:
        return "disk"
    if row.paused:
        return "reader"
    if row.turn.parked:
        return "parked"
    if stage in {"prefill", "decode", "grammar", "put_back", "parked"}:
        return "put_back"
    return "beginning" if row.shares else "turn"
