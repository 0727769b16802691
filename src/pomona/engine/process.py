"""The process of one engine: `python -m pomona.engine.process`, started by `pomona.fleet`.

The main thread is the only one that touches MLX: it takes commands, steps the engine and sends what each step made. A second
thread waits for the end of the gateway, so that no engine outlives it. Nothing here imports mlx before the BLAS is in place.
"""

import ctypes
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import structlog
import zmq

from pomona.core.errors import EngineFailed, ModelUnusable, PomonaError
from pomona.core.generation import Prompt, SamplingParams
from pomona.core.telemetry import configure_logging, get_logger
from pomona.engine.protocol import (
    Add,
    Cancel,
    Heartbeat,
    Launch,
    LoadFailed,
    Loading,
    Pause,
    Ready,
    Refused,
    Resume,
    Row,
    Shutdown,
    Step,
    ToEngine,
    ToGateway,
)
from pomona.engine.stepping import SteppingEngine

HIGH_WATER_MESSAGES = 256
"""Steps that may wait for the gateway to read them; then the engine waits."""
GATEWAY_PATIENCE_SECONDS = 600
COMMANDS_PER_STEP = 256
QUIET_STEP_SECONDS = 0.1
"""Steps that made no token, as prefill steps do, are reported this often."""
EXIT_LOAD_FAILED, EXIT_ENGINE_FAILED, EXIT_GATEWAY_GONE = 3, 4, 5

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model ready to be stepped. `prove` runs a small computation on the device and returns when it is done."""

    engine: SteppingEngine
    ready: Callable[[], Ready]
    prove: Callable[[], None]


Build = Callable[[Launch], Loaded]


def run(build: Build) -> int:
    """Be an engine process until told to stop; returns the exit code. `build` loads the model."""
    launch = Launch.model_validate_json(sys.stdin.buffer.readline())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # standard output belongs to the gateway's user
    configure_logging(launch.logging.level, launch.logging.format)
    structlog.contextvars.bind_contextvars(process="engine", engine_model=launch.reference)
    _end_with_the_gateway()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the whole group; the gateway decides
    signal.signal(signal.SIGTERM, _terminate)
    channel = Channel(launch.address)
    try:
        channel.send(Loading())
        return _load_and_serve(build, launch, channel)
    finally:
        channel.close()
