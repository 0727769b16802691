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

FAILS, POISONS, STARVES, ABORTS, LATE = 40, 41, 42, 43, 44
"""First ids of prompts: a pass that fails, a device that answers errors from then on, one without memory, an end without an exception;
and the second after some tokens."""
LATE_TOKENS = 5
ILLEGAL = "CUDA error: an illegal memory access was encountered"
NO_MEMORY = "cudaMallocAsync(&data, size, stream) failed: out of memory"


class Poison:
    """Watches an engine's rows and strikes in the pass behind the one that it finds a marked row in."""

    def __init__(self, engine: Engine) -> None:
        self._add, self._step = engine.add, engine.step
        self._marked: dict[str, int] = {}
        self._left = 0

    def add(self, prompt: Prompt) -> None:
        self._add(prompt)
        mark = prompt.token_ids[0]
        if FAILS <= mark <= LATE:
            self._marked[prompt.id] = mark
            self._left = LATE_TOKENS - len(prompt.answered_ids) if mark == LATE else 0

    def step(self) -> list[object]:
        made = self._step()
        for mark in self._marked.values():
            self._left -= 1
            if self._left < 0:
                STRIKES[mark]()
        return list(made)


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


STRIKES = {FAILS: _fail, POISONS: _poison(ILLEGAL), STARVES: _poison(NO_MEMORY), ABORTS: _abort, LATE: _poison(ILLEGAL)}


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
