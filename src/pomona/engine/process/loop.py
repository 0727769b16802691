"""The device loop: commands in, steps out. It runs in the only thread of the process that touches MLX."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from pomona.core.errors import PomonaError, UnsupportedField
from pomona.core.generation import Prompt, TokenStep
from pomona.core.status import EngineCounters
from pomona.core.telemetry import get_logger
from pomona.engine.process.channel import Channel
from pomona.engine.protocol import (
    Add,
    Busy,
    Cancel,
    Encode,
    Encoding,
    Fallen,
    Heartbeat,
    Pause,
    Refused,
    Resume,
    Row,
    Shrink,
    Shutdown,
    Step,
    ToEngine,
)
from pomona.engine.scheduling.outlook import Outlook

COMMANDS_PER_STEP = 256
QUIET_STEP_SECONDS = 0.1
"""Steps that made no token, as those of a long prefill, are reported this often."""

log = get_logger(__name__)


class Rows(Protocol):
    """The rows of an engine, by id. Unknown ids are ignored."""

    def add(self, prompt: Prompt, /) -> None:
        """Queue a row. Raises PomonaError."""
        ...

    def cancel(self, row_id: str, /) -> None:
        """Drop a row."""
        ...

    def close(self) -> None:
        """Drop all rows and wait for the device."""
        ...


class Pausing(Protocol):
    """Rows that can wait for their readers. Unknown ids are ignored."""

    def pause(self, row_id: str, /) -> None:
        """Keep a row, but do not step it."""
        ...

    def resume(self, row_id: str, /) -> None:
        """Step a row again."""
        ...


class Stepping(Protocol):
    """Work, one step at a time."""

    @property
    def has_work(self) -> bool:
        """A step would get further."""
        ...

    def step(self) -> list[tuple[str, TokenStep]]:
        """One step: what it made, by row, and which rows were lost (`TokenStep.failure`)."""
        ...

    def stats(self) -> EngineCounters:
        """The state after the last step."""
        ...


class Shrinking(Protocol):
    """Memory that can be had back."""

    def shrink(self, *, disk: bool = False) -> None:
        """Give back what no row needs now, also on `disk`."""
        ...


class Announcing(Protocol):
    """What says how long its steps may take."""

    @property
    def outlook(self) -> Outlook:
        """It says so right before a step."""
        ...


class SteppedEngine(Announcing, Rows, Pausing, Stepping, Shrinking, Protocol):
    """What the loop drives: `pomona.engine.engine.Engine`."""


class Worker(Protocol):
    """What every engine is to its loop."""

    @property
    def has_work(self) -> bool:
        """A step would get further."""
        ...

    def stats(self) -> EngineCounters:
        """The state after the last step."""
        ...

    def close(self) -> None:
        """Drop everything and wait for the device."""
        ...


class Loop(ABC):
    """Commands, steps and signs of life in turn, whatever kind of engine `worker` is.

    `prove` runs a small computation on the device and returns when it is done.
    """

    def __init__(self, worker: Worker, channel: Channel, prove: Callable[[], None], heartbeat_seconds: float) -> None:
        self._worker = worker
        self._channel = channel
        self._prove = prove
        self._heartbeat_seconds = heartbeat_seconds
        self._serving = True
        self._alive: set[str] = set()
        self._sent_at = time.monotonic()
        self._changed = False

    def run(self) -> bool:
        """Serve until `Shutdown`. False if the engine failed: that has been said, and the process had better end."""
        try:
            while self._serving:
                self._obey()
                self._advance()
        except Exception as error:
            log.exception("engine_failed", rows=len(self._alive))
            self._channel.send(Fallen(f"The engine failed while it worked for this request: {type(error).__name__}: {error}"))
            return False
        return True

    def _obey(self) -> None:
        """Take the commands that are there; wait for one while there is nothing to step."""
        idle = not self._worker.has_work
        wait_seconds = max(0.0, self._sent_at + self._heartbeat_seconds - time.monotonic()) if idle else 0.0
        for _ in range(COMMANDS_PER_STEP):
            command = self._channel.receive(wait_seconds)
            if command is None or not self._serving:
                return
            if isinstance(command, Shutdown):
                self._serving = False
            else:
                self._handle(command)
            wait_seconds = 0.0

    def _advance(self) -> None:
        """A step if there is work; else a sign of life, where one is due or something changed that the gateway shows."""
        if not self._serving:
            return
        if self._worker.has_work:
            self._step()
        elif self._changed or time.monotonic() >= self._sent_at + self._heartbeat_seconds:
            self._prove()
            self._send(Heartbeat(self._worker.stats()))

    def _send(self, message: Step | Encoding | Heartbeat) -> None:
        self._channel.send(message)
        self._sent_at = time.monotonic()
        self._changed = False

    def _announce(self, seconds: float, computing: bool) -> None:
        """What begins now may take so long, and keeps the CPU busy where it is `computing`."""
        self._channel.send(Busy(seconds, computing))

    @abstractmethod
    def _handle(self, command: ToEngine) -> None:
        """Obey one command."""

    @abstractmethod
    def _step(self) -> None:
        """One step, and what it made to the gateway."""


class DeviceLoop(Loop):
    """The loop of an engine that writes text."""

    def __init__(self, engine: SteppedEngine, channel: Channel, prove: Callable[[], None], heartbeat_seconds: float) -> None:
        super().__init__(engine, channel, prove, heartbeat_seconds)
        self._engine = engine
        engine.outlook.tell = self._announce

    def _handle(self, command: ToEngine) -> None:
        match command:
            case Add():
                self._add(command)
            case Cancel(id=row_id):
                self._engine.cancel(row_id)
                self._alive.discard(row_id)
                self._changed = True
            case Pause(id=row_id):
                self._engine.pause(row_id)
            case Resume(id=row_id):
                self._engine.resume(row_id)
            case Encode(id=request_id):
                error = UnsupportedField("This model writes text; it does not make vectors.", param="model")
                self._channel.send(Refused(request_id, error.code, error.message))
            case Shrink(disk=disk):
                self._engine.shrink(disk=disk)
                self._changed = True
            case _:
                pass

    def _add(self, command: Add) -> None:
        try:
            self._engine.add(command.prompt())
        except PomonaError as error:
            self._channel.send(Refused(command.id, error.code, error.message))
        else:
            self._alive.add(command.id)

    def _step(self) -> None:
        made = self._engine.step()
        self._engine.outlook.ran()
        rows = [Row.of(row_id, step) for row_id, step in made if step.failure is None]
        self._alive.difference_update(row_id for row_id, step in made if step.finish_reason or step.failure)
        if rows or time.monotonic() >= self._sent_at + QUIET_STEP_SECONDS:
            self._send(Step(rows, self._engine.stats()))
        for row_id, step in made:
            if step.failure is not None:
                self._channel.send(Refused(row_id, step.failure.code, step.failure.message))
