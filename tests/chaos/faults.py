"""Faults done to a server: engines die and hang, clocks jump, disks are full, models come and go."""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import httpx
import psutil

from tests.chaos.house import PATIENCE_SECONDS, House, until
from tests.chaos.plan import OTHER, Fault, FaultKind

PAUSE_SECONDS = 0.5
"""Shorter than what counts as hung."""


@dataclass(slots=True)
class Breaker:
    """Does what a plan says, one thing after another. `hang_seconds` are how long hung engines took to be replaced or declared dead."""

    house: House
    dice: random.Random
    done: Counter[str] = field(default_factory=Counter[str])
    found_seconds: list[float] = field(default_factory=list[float])
    problems: list[str] = field(default_factory=list[str])

    def do(self, fault: Fault) -> None:
        """Do it; returns when it is done, and for hangs when it was found."""
        self.done[fault.kind] += 1
        match fault.kind:
            case "clock":
                self.house.set_clock(fault.value)
            case "fill" | "free":
                self.house.set_disk_full(full=fault.kind == "fill")
            case "spoil":
                self.house.spoil(self.dice)
            case "load" | "unload":
                self._move(fault.kind)
            case _:
                _STRIKES[fault.kind](self, self._victim())

    def _victim(self) -> psutil.Process:
        """Any engine, with a model, without one, or still loading."""
        until(self.house.engines)
        engines = self.house.engines()
        return self.dice.choice(engines) if engines else self._victim()

    def _move(self, verb: str) -> None:
        answer = httpx.post(f"{self.house.admin_url}/admin/models/{OTHER}/{verb}", timeout=PATIENCE_SECONDS)
        if answer.status_code not in {200, 409, 503}:
            self.problems.append(f"{verb} was answered with {answer.status_code}: {answer.text[:200]}")

    def hang(self, victim: psutil.Process) -> None:
        """Stop it in its tracks, and see how long its gateway needs to notice. One in spare is asked nothing: it goes on after a moment."""
        holds = victim.pid in {pid for _, pid in self.house.loaded()}
        begun = time.monotonic()
        victim.suspend()
        if not holds:
            time.sleep(PAUSE_SECONDS)
            victim.resume()
            return
        until(lambda: not victim.is_running() or victim.status() == psutil.STATUS_ZOMBIE)
        self.found_seconds.append(time.monotonic() - begun)

    def pause(self, victim: psutil.Process) -> None:
        """Stop it for a moment only."""
        victim.suspend()
        time.sleep(PAUSE_SECONDS)
        victim.resume()


def _send(number: signal.Signals) -> Callable[[Breaker, psutil.Process], None]:
    def strike(_: Breaker, victim: psutil.Process) -> None:
        victim.send_signal(number)

    return strike


_STRIKES: Mapping[FaultKind, Callable[[Breaker, psutil.Process], None]] = {
    "kill": _send(signal.SIGKILL),
    "abort": _send(signal.SIGABRT),
    "hang": Breaker.hang,
    "pause": Breaker.pause,
}
