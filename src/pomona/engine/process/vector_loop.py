"""The device loop of an engine for vectors."""

import time
from collections.abc import Callable

from pomona.core.errors import PomonaError, UnsupportedField
from pomona.engine.process.channel import Channel
from pomona.engine.process.loop import Loop
from pomona.engine.protocol import Add, Cancel, Encode, Encoding, Refused, Shrink, ToEngine
from pomona.engine.scheduling.outlook import MARGIN, QUIET_SECONDS
from pomona.engine.vectors.engine import VectorEngine
from pomona.models.device import keeps_cpu_busy

FIRST_PASS_SECONDS = 180.0
"""Nothing is known yet but what one token took; a full pass of a large model takes minutes on a CPU."""


class VectorLoop(Loop):
    """`Encode` in, `Encoded` out, and word of every pass."""

    def __init__(self, engine: VectorEngine, channel: Channel, prove: Callable[[], None], heartbeat_seconds: float) -> None:
        super().__init__(engine, channel, prove, heartbeat_seconds)
        self._engine = engine
        self._longest_seconds: float | None = None

    def _handle(self, command: ToEngine) -> None:
        match command:
            case Encode():
                self._add(command)
            case Cancel(id=request_id):
                self._engine.cancel(request_id)
                self._alive.discard(request_id)
                self._changed = True
            case Add(id=request_id):
                error = UnsupportedField("This model makes vectors; it does not write text.", param="model")
                self._channel.send(Refused(request_id, error.code, error.message))
            case Shrink():
                _give_back()
                self._changed = True
            case _:
                pass

    def _add(self, command: Encode) -> None:
        try:
            self._engine.add(command)
        except PomonaError as error:
            self._channel.send(Refused(command.id, error.code, error.message))
        else:
            self._alive.add(command.id)

    def _step(self) -> None:
        expected = FIRST_PASS_SECONDS if self._longest_seconds is None else MARGIN * self._longest_seconds
        if expected > QUIET_SECONDS:
            self._announce(expected, keeps_cpu_busy())
        began = time.monotonic()
        finished = self._engine.step()
        self._longest_seconds = max(self._longest_seconds or 0.0, time.monotonic() - began)
        for done in finished:
            self._alive.discard(done.id)
            self._channel.send(done)
        self._send(Encoding(self._engine.stats()))


def _give_back() -> None:
    """Buffers that MLX keeps for passes of the same size; nothing else outlives a pass."""
    import mlx.core as mx

    mx.clear_cache()
