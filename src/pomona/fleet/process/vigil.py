"""When the silence of an engine is a hang."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from pomona.core.settings import FleetSettings

INTERVAL_SECONDS = 0.25
"""Between two looks."""
COMPILER_SECONDS = 1.0
"""From one compiler to the next."""
WORKING_SHARE = 0.01
"""Of one core: who uses less waits for something. Who computes or compiles gets more, even where eight others want the core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """What the system says of a process. `stopped`: it was told to stand still, as by SIGSTOP or a debugger."""

    stopped: bool
    cpu_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Hang:
    """What is wrong, and whether somebody did it."""

    reason: str
    by_hand: bool = False


class Vigil:
    """Over one process, from its start. `read` asks the system for its vitals, None where it does not tell; `compiles` whether a compiler
    runs below it, and is asked only before it would be condemned.
    """

    def __init__(
        self,
        settings: FleetSettings,
        read: Callable[[], Vitals | None],
        compiles: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = settings.hang_seconds
        self._busy_limit = settings.busy_seconds
        self._read = read
        self._compiles = compiles
        self._clock = clock
        self._heard_at = self._patient_until = self._worked_at = clock()
        self._cpu_seconds: float | None = None
        self._stopped_since: float | None = None
        self._computing = False
        self._compiled_at = -COMPILER_SECONDS
        self.loading = True
        """It need not say anything yet."""

    @property
    def interval(self) -> float:
        """Seconds from one `look` to the next."""
        return min(INTERVAL_SECONDS, self._limit / 4)

    @property
    def patient_seconds(self) -> float:
        """Its silence is no hang for so long from now: it has said that its present step takes long."""
        return max(0.0, self._patient_until - self._clock())

    def hear(self) -> None:
        """It gave a sign of life."""
        self._heard_at = self._patient_until = self._clock()
        self._cpu_seconds = None

    def expect(self, seconds: float, *, computing: bool) -> None:
        """It has said that what begins now may take `seconds`, in which the CPU always has something to do where it is `computing`."""
        self.hear()
        self._patient_until = self._heard_at + min(seconds, self._busy_limit)
        self._computing = computing

    def oversleep(self, seconds: float) -> None:
        """We looked so much later than meant: what we did not hear in that time is no sign."""
        self._heard_at += seconds
        self._patient_until += seconds
        self._worked_at += seconds
        if self._stopped_since is not None:
            self._stopped_since += seconds

    def look(self) -> Hang | None:
        """What is wrong, if something is."""
        now = self._clock()
        silent = now - self._heard_at
        if silent < self.interval:
            return None
        vitals = self._read()
        if vitals is not None:
            self._note(vitals, now)
        if self._stopped_since is not None and now - self._stopped_since > self._limit:
            return Hang(reason=f"stopped for {self._limit:g} seconds", by_hand=True)
        if self.loading or silent <= self._limit:
            return None
        if now >= self._patient_until:
            compiling = silent < self._busy_limit and self._is_compiling(now)
            return None if compiling else Hang(reason=f"silent for {silent:.1f} seconds", by_hand=self._stopped_since is not None)
        if vitals is not None and self._computing and now - self._worked_at > self._limit and not self._is_compiling(now):
            return Hang(reason=f"silent and idle in a step for {self._limit:g} seconds", by_hand=self._stopped_since is not None)
        return None

    def _is_compiling(self, now: float) -> bool:
        """Between two kernels there is no compiler for a moment."""
        if self._compiles():
            self._compiled_at = now
        return now - self._compiled_at < COMPILER_SECONDS

    def _note(self, vitals: Vitals, now: float) -> None:
        if not vitals.stopped:
            self._stopped_since = None
        elif self._stopped_since is None:
            self._stopped_since = now
        if self._cpu_seconds is None or vitals.cpu_seconds - self._cpu_seconds >= WORKING_SHARE * self._limit:
            self._worked_at, self._cpu_seconds = now, vitals.cpu_seconds


def read_vitals(pid: int) -> Vitals | None:
    """Of process `pid`; None if it is gone."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            stopped = process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
            return Vitals(stopped=stopped, cpu_seconds=times.user + times.system)
    except psutil.Error:
        return None


def runs_a_compiler(pid: int) -> bool:
    """Engines start no other processes than the compiler of MLX's kernels on a CPU."""
    try:
        return bool(psutil.Process(pid).children())
    except psutil.Error:
        return False
