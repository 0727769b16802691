"""From the start of an engine process to its end.

The main thread loads the model and runs the device loop. A second thread waits for the end of the gateway, so that no engine
outlives it, however it ended.
"""

import ctypes
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog
from msgspec import structs

from pomona.core.errors import ModelUnusable, PomonaError
from pomona.core.generation import Prompt, SamplingParams
from pomona.core.telemetry import configure_logging, get_logger
from pomona.engine.process.channel import Channel
from pomona.engine.process.loop import DeviceLoop, Loop, SteppedEngine, Worker
from pomona.engine.protocol import Launch, LoadFailed, Loading, Prepare, Ready

EXIT_LOAD_FAILED, EXIT_ENGINE_FAILED, EXIT_GATEWAY_GONE = 3, 4, 5
PR_SET_PDEATHSIG = 1  # linux/prctl.h

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """An engine and what is said of it. `prove` runs a small computation on the device and returns when it is done."""

    engine: Worker
    drive: Callable[[Channel, float], Loop]
    """The loop that drives it; the number is of seconds between signs of life."""
    warm_up: Callable[[], None]
    """One small piece of work: what is compiled or allocated on first use is so before the first request."""
    ready: Ready

    @classmethod
    def stepped(cls, engine: SteppedEngine, prove: Callable[[], None], ready: Ready, *, compiles: bool = False) -> "Loaded":
        """An engine that writes text. `compiles`: its device makes a kernel when one is first needed, which takes seconds."""

        def drive(channel: Channel, heartbeat_seconds: float) -> Loop:
            return DeviceLoop(engine, channel, prove, heartbeat_seconds)

        return cls(engine=engine, drive=drive, warm_up=lambda: _warm_up(engine, crowd=compiles), ready=ready)


def run(load: Callable[[Launch], Loaded], prepare: Callable[[Prepare], None]) -> int:
    """Be an engine process, from the lines on standard input until `Shutdown`; returns the exit code."""
    _leave_signals_to_the_gateway()
    _die_with_the_gateway()
    os.dup2(2, 1)  # standard output belongs to the user of the gateway
    launch = _read_launch(prepare)
    if launch is None:
        return EXIT_GATEWAY_GONE
    configure_logging(launch.logging.level, launch.logging.format)
    structlog.contextvars.bind_contextvars(process="engine", model=launch.model)
    threading.Thread(target=_wait_for_the_end_of_input, name="gateway-watch", daemon=True).start()
    return serve_engine(load, launch, _freeze)


def _read_launch(prepare: Callable[[Prepare], None]) -> Launch | None:
    """What to serve, which may be said long after what to prepare for; None if the gateway ends before that."""
    first = sys.stdin.buffer.readline()
    if not first:
        return None
    prepare(Prepare.model_validate_json(first))
    line = sys.stdin.buffer.readline()
    return Launch.model_validate_json(line) if line else None


def serve_engine(load: Callable[[Launch], Loaded], launch: Launch, when_loaded: Callable[[], None]) -> int:
    """Be an engine, in this thread, until `Shutdown`; returns the exit code."""
    channel = Channel(launch.address)
    try:
        channel.send(Loading())
        return _serve(load, launch, channel, when_loaded)
    finally:
        channel.close()


def _freeze() -> None:
    """What loading made stays: the collector need not look at it between steps."""
    gc.collect()
    gc.freeze()


def _serve(load: Callable[[Launch], Loaded], launch: Launch, channel: Channel, when_loaded: Callable[[], None]) -> int:
    loaded = _load(load, launch, channel)
    if loaded is None:
        return EXIT_LOAD_FAILED
    when_loaded()
    channel.send(loaded.ready)
    well = loaded.drive(channel, launch.heartbeat_seconds).run()
    if well:
        loaded.engine.close()
    return 0 if well else EXIT_ENGINE_FAILED


def _load(load: Callable[[Launch], Loaded], launch: Launch, channel: Channel) -> Loaded | None:
    """What `load` makes, warmed up; None if it failed and the gateway has been told why."""
    started = time.monotonic()
    try:
        loaded = load(launch)
        loaded.warm_up()
    except PomonaError as error:
        channel.send(LoadFailed(error.code, error.message))
        return None
    except Exception as error:
        log.exception("loading_failed")
        channel.send(LoadFailed(ModelUnusable.code, f"Loading {launch.model!r} failed: {type(error).__name__}: {error}"))
        return None
    ready = structs.replace(loaded.ready, load_seconds=time.monotonic() - started, stats=loaded.engine.stats())
    return replace(loaded, ready=ready)


def _warm_up(engine: SteppedEngine, *, crowd: bool) -> None:
    """Two tokens from one: the first pass reads the weights, the second says what a token takes. Then, with a `crowd`, rows that come and
    go, read prompts, draw tokens and score them, so that no request waits for what these need to be compiled.
    """
    _run_alone(engine)
    if crowd:
        drawn = SamplingParams(temperature=0.8, top_p=0.9, top_k=40, min_p=0.01, repetition_penalty=1.1, seed=1, logprobs=2)
        for number, tokens in enumerate((5, 9, 13, 10)):
            sampling = drawn if number == 3 else SamplingParams(temperature=0.0 if number else 1.0, seed=1)
            engine.add(Prompt(id=f"warm-up-{number}", token_ids=(0,) * tokens, sampling=sampling, max_tokens=2 + number))
            engine.step()
        while engine.has_work:
            engine.step()


def _run_alone(engine: SteppedEngine) -> None:
    engine.add(Prompt(id="warm-up", token_ids=(0,), sampling=SamplingParams(temperature=0.0), max_tokens=2))
    engine.step()
    while engine.has_work:
        engine.step()
        engine.outlook.ran()


def _die_with_the_gateway() -> None:
    """On Linux the kernel kills us then, even in the middle of a native call."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _wait_for_the_end_of_input() -> None:
    """It ends when the gateway does."""
    while os.read(0, 4096):
        pass
    os._exit(EXIT_GATEWAY_GONE)


def _leave_signals_to_the_gateway() -> None:
    """A terminal or a service manager sends these to the whole group; the gateway may want to let answers finish first."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
