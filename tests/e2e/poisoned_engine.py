"""An engine process with a real model, whose device fails as a GPU does when a marked request comes. Run as a script, like the real one.

What MLX raises on CUDA and Metal cannot be provoked on a CPU; where it comes out can: a pass that fails while it runs, an error of every
call after that, an exception that nobody catches on a thread of the device.
"""

import os
import sys
from collections.abc import Callable
from typing import NoReturn

import mlx.core as mx

from pomona.core.generation import Prompt
from pomona.engine.engine import Engine
from pomona.engine.process.host import Loaded, run
from pomona.engine.process.model import load_engine, prepare
from pomona.engine.protocol import Launch
from pomona.engine.scheduling.outlook import Outlook
from pomona.engine.scheduling.scheduler import Plan

FAILS, STARVES, ABORTS, LATE, LOOPS = 40, 41, 42, 43, 44
"""First ids of prompts. A pass fails; the device has no memory, and answers errors from then on; the process ends without an exception; the
device answers errors after some tokens; a layer never ends, in a step that may take very long."""
LATE_TOKENS = 5
SHARE_SECONDS = 1.0
ILLEGAL = "CUDA error: an illegal memory access was encountered"
NO_MEMORY = "cudaMallocAsync(&data, size, stream) failed: out of memory"


class Patient(Outlook):
    """Knows of a pass with the next rows that took long."""

    def look(self, plan: Plan) -> None:
        self._told_seconds, self._likely_seconds = 3600.0, SHARE_SECONDS
        self.tell(self._told_seconds, True)


class Poison:
    """Watches an engine's rows and strikes in the pass behind the one that it finds a marked row in."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._add, self._step = engine.add, engine.step
        self._marked: dict[str, int] = {}
        self._left = 0

    def add(self, prompt: Prompt) -> None:
        self._add(prompt)
        mark = prompt.token_ids[0]
        if mark in STRIKES:
            self._marked[prompt.id] = mark
            self._left = LATE_TOKENS - len(prompt.answered_ids) if mark == LATE else 0

    def step(self) -> list[object]:
        if LOOPS in self._marked.values():
            self._loop()
        made = self._step()
        for mark in self._marked.values():
            self._left -= 1
            if self._left < 0:
                STRIKES[mark]()
        return list(made)

    def _loop(self) -> None:
        """Say that the step may take an hour, and never return from its third part."""
        parts = iter(range(2))

        def spin(array: mx.array) -> None:
            while next(parts, None) is None:
                pass
            mx.async_eval(array)

        tell = self._engine.outlook.tell
        self._engine.outlook = Patient(compiling=False)
        self._engine.outlook.tell = tell
        mx.eval = spin


def _fail() -> None:
    """A real one: the pass is started, and what waits for it hears that it failed."""
    mx.async_eval(mx.linalg.inv(mx.zeros((3, 3)), stream=mx.cpu))


def _poison(message: str) -> Callable[[], None]:
    def fail(*_: object) -> NoReturn:
        raise RuntimeError(message)

    def strike() -> None:
        for name in ("eval", "async_eval", "synchronize", "clear_cache"):
            setattr(mx, name, fail)

    return strike


def _abort() -> None:
    """As `std::terminate` ends a process."""
    sys.stderr.write(f"terminate called after throwing an instance of 'std::runtime_error'\n  what():  {NO_MEMORY}\n")
    sys.stderr.flush()
    os.abort()


STRIKES = {FAILS: _fail, STARVES: _poison(NO_MEMORY), ABORTS: _abort, LATE: _poison(ILLEGAL), LOOPS: lambda: None}


def load(launch: Launch) -> Loaded:
    """The real engine, watched."""
    loaded = load_engine(launch)
    assert isinstance(loaded.engine, Engine)
    poison = Poison(loaded.engine)
    for name in ("add", "step"):
        setattr(loaded.engine, name, getattr(poison, name))
    return loaded


if __name__ == "__main__":
    raise SystemExit(run(load, prepare))
