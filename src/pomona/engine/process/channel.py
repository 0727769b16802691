"""The engine's end of the socket to the gateway."""

import msgspec
import zmq

from pomona.core.errors import EngineFailed
from pomona.engine.protocol import ToEngine, ToGateway

HIGH_WATER_MESSAGES = 256
"""Messages that may wait for the gateway to read them. Then the engine waits too: its memory does not grow."""
PATIENCE_SECONDS = 600.0
LINGER_MILLISECONDS = 2000
"""Last words, such as why a model cannot be loaded, get this long to leave a process that ends."""


class Channel:
    """Commands in, messages out. One thread."""

    def __init__(self, address: str, *, high_water: int = HIGH_WATER_MESSAGES, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience_seconds = patience_seconds
        self._context = zmq.Context(io_threads=1)
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.PAIR)
        self._socket.setsockopt(zmq.SNDHWM, high_water)
        self._socket.setsockopt(zmq.LINGER, LINGER_MILLISECONDS)
        self._socket.connect(address)
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[ToEngine] = msgspec.msgpack.Decoder(ToEngine)

    def receive(self, wait_seconds: float) -> ToEngine | None:
        """The next command; None if none came within `wait_seconds`."""
        if wait_seconds > 0 and not self._socket.poll(int(wait_seconds * 1000) + 1):
            return None
        try:
            return self._decoder.decode(self._socket.recv(zmq.NOBLOCK))
        except zmq.Again:
            return None

    def send(self, message: ToGateway) -> None:
        """Hand `message` over; waits while the gateway does not read. Raises EngineFailed when its patience ends."""
        data = self._encoder.encode(message)
        if not self._socket.poll(0, zmq.POLLOUT) and not self._socket.poll(int(self._patience_seconds * 1000), zmq.POLLOUT):
            raise EngineFailed(f"The gateway has read nothing for {self._patience_seconds:g} seconds.")
        self._socket.send(data, zmq.NOBLOCK)

    def close(self) -> None:
        """Let go of the socket, once what was sent is out."""
        self._socket.close()
        self._context.term()
