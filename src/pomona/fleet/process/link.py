"""The gateway's end of the socket to an engine, on the event loop."""

import asyncio
from collections import deque
from collections.abc import Callable

import msgspec
import zmq

from pomona.engine.protocol import ToEngine, ToGateway

HIGH_WATER_MESSAGES = 256
MOST_QUEUED = 1024
"""Commands that wait in here. An engine that has died takes none, and that is known only a moment later: who asks meanwhile must wait
for that, not be sent away."""
MESSAGES_PER_TURN = 64
"""Then other work of the event loop gets a turn."""


class Link:
    """Made on a running loop. `receive` is called on it with each message.

    The descriptor of a ZeroMQ socket tells only that something changed since it was last looked at, so everything there is
    must be taken each time, after sending too (http://api.zeromq.org/4-3:zmq-getsockopt, ZMQ_FD).
    """

    def __init__(self, address: str, receive: Callable[[ToGateway], None]) -> None:
        self._receive = receive
        self._outbox: deque[bytes] = deque()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[ToGateway] = msgspec.msgpack.Decoder(ToGateway)
        self._context = zmq.Context(io_threads=1)
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.PAIR)
        self._socket.setsockopt(zmq.RCVHWM, HIGH_WATER_MESSAGES)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(address)
        self._descriptor = self._socket.fileno()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._descriptor, self.take)

    @property
    def congested(self) -> bool:
        """The engine has not taken commands for so long that they queue up in here."""
        return len(self._outbox) >= MOST_QUEUED

    def send(self, command: ToEngine) -> None:
        """Send, or queue where the engine does not take commands now. Nothing happens after `close`."""
        if not self._socket.closed:
            self._outbox.append(self._encoder.encode(command))
            self._flush()
            self._loop.call_soon(self.take)

    def take(self) -> None:
        """Hand on the messages that are there."""
        for _ in range(MESSAGES_PER_TURN):
            if self._socket.closed:
                return
            try:
                data = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                self._flush()
                return
            self._receive(self._decoder.decode(data))
        self._loop.call_soon(self.take)

    def close(self) -> None:
        """Let go of the socket. May be called again."""
        if not self._socket.closed:
            self._loop.remove_reader(self._descriptor)
            self._socket.close()
            self._context.term()

    def _flush(self) -> None:
        while self._outbox:
            try:
                self._socket.send(self._outbox[0], zmq.NOBLOCK)
            except zmq.Again:
                return
            self._outbox.popleft()
