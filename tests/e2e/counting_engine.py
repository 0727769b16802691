"""An engine process with a double in place of the model: it counts. Run as a script, it is started like the real one.

A row's first token is the length of its prompt, each next one is one more. Prompts that hold a special token make it misbehave,
and so do models of special names.
"""

import ctypes
import os
import signal
import threading
import time

from pomona.core.errors import ContextOverflow, ModelUnusable
from pomona.core.generation import Prompt, TokenStep
from pomona.core.status import EngineCounters
from pomona.engine.process.host import Loaded, run
from pomona.engine.protocol import Launch, Ready
from pomona.engine.scheduling.outlook import Outlook

CRASH, ABORT, HANG, REFUSE, LATE, PONDER, SPIN, NATIVE, STUCK, KILL = 9001, 9002, 9003, 9004, 9005, 9006, 9007, 9008, 9009, 9010
"""HANG waits for ever, SPIN loops for ever, NATIVE calls what never returns and keeps the interpreter; STUCK waits in an announced
step. KILL is an end by SIGKILL."""
LATE_TOKENS = 20
"""That a prompt with `LATE` makes before the engine aborts."""
VOCABULARY = 10_000
STEP_SECONDS = 0.0005
PONDER_SECONDS = 1.6
"""That the first step of a prompt with `PONDER` takes. It is said to take up to ten times that."""


class CountingEngine:
    """The protocol of `pomona.engine.engine.Engine`. A row holds one page, which is kept when it ends, in memory and on disk; `waiting`
    counts the paused ones.
    """

    def __init__(self, *, hungry: bool = False) -> None:
        self.hungry = hungry
        self.outlook = Outlook(compiling=False)
        self.rows: dict[str, Prompt] = {}
        self.made: dict[str, int] = {}
        self.paused: set[str] = set()
        self.steps = 0
        self.pages_kept = self.files_kept = 0

    def add(self, prompt: Prompt) -> None:
        if REFUSE in prompt.token_ids:
            raise ContextOverflow(f"A prompt of {len(prompt.token_ids)} tokens is too long for the double.")
        self.rows[prompt.id] = prompt
        self.made[prompt.id] = len(prompt.answered_ids)

    def cancel(self, id: str) -> None:
        self.rows.pop(id, None)
        self.paused.discard(id)

    def pause(self, id: str) -> None:
        self.paused |= {id} & self.rows.keys()

    def resume(self, id: str) -> None:
        self.paused.discard(id)

    def shrink(self, *, disk: bool = False) -> None:
        self.pages_kept = 0
        self.files_kept = 0 if disk else self.files_kept

    @property
    def has_work(self) -> bool:
        return any(id not in self.paused for id in self.rows)

    def step(self) -> list[tuple[str, TokenStep]]:
        self.steps += 1
        time.sleep(STEP_SECONDS)  # the device works
        if self.hungry and self.steps > LATE_TOKENS:
            raise RuntimeError("[malloc] Unable to allocate 123 bytes.")
        return [(id, self._next(prompt)) for id, prompt in list(self.rows.items()) if id not in self.paused]

    def stats(self) -> EngineCounters:
        rows, paused = len(self.rows), len(self.paused)
        return EngineCounters(
            steps=self.steps,
            running=rows - paused,
            waiting=paused,
            pages_used=rows,
            pages_cached=self.pages_kept,
            pages_total=64,
            disk_files=self.files_kept,
        )

    def close(self) -> None:
        self.rows.clear()

    def _next(self, prompt: Prompt) -> TokenStep:
        if CRASH in prompt.token_ids:
            raise RuntimeError("the double was told to crash")
        if ABORT in prompt.token_ids:
            os.abort()
        if KILL in prompt.token_ids:
            os.kill(os.getpid(), signal.SIGKILL)
        if LATE in prompt.token_ids and self.made[prompt.id] == LATE_TOKENS:
            os.abort()
        if PONDER in prompt.token_ids and self.made[prompt.id] == len(prompt.answered_ids):
            self.outlook.tell(10 * PONDER_SECONDS, True)
            _compute(PONDER_SECONDS)
        self._misbehave(prompt)
        token_id = (len(prompt.token_ids) + self.made[prompt.id]) % VOCABULARY
        self.made[prompt.id] += 1
        last = self.made[prompt.id] == prompt.max_tokens
        if last:
            self.cancel(prompt.id)
            self.pages_kept += 1
            self.files_kept += 1
        return TokenStep(token_ids=(token_id,), finish_reason="length" if last else None)

    def _misbehave(self, prompt: Prompt) -> None:
        if STUCK in prompt.token_ids:
            self.outlook.tell(10 * PONDER_SECONDS, True)
        if HANG in prompt.token_ids or STUCK in prompt.token_ids:
            threading.Event().wait()
        if NATIVE in prompt.token_ids:
            ctypes.PyDLL(None).pause()
        while SPIN in prompt.token_ids:
            pass


def _compute(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def load(launch: Launch) -> Loaded:
    """A model named `unusable` cannot be loaded, `broken` surprises, `dies` ends the process,
    `slow` takes for ever; `hungry` runs out of memory."""
    match launch.model:
        case "unusable":
            raise ModelUnusable(f"The folder {str(launch.folder)!r} holds no model.")
        case "broken":
            raise RuntimeError("nobody expected this")
        case "dies":
            os._exit(9)
        case "slow":
            threading.Event().wait()
        case _:
            pass
    ready = Ready(
        model=launch.model,
        architecture="Counting",
        device="cpu",
        max_context=launch.engine.max_context or 4096,
        vocabulary=VOCABULARY,
        weight_bytes=0,
        kv_budget_bytes=0,
        load_seconds=0.0,
        stats=EngineCounters(),
        warnings=["It only counts."],
    )
    return Loaded.stepped(CountingEngine(hungry=launch.model == "hungry"), lambda: None, ready)


if __name__ == "__main__":
    raise SystemExit(run(load, lambda _prepare: None))
