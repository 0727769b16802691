"""The engine's end of the socket, with a gateway that does not read."""

from collections.abc import Generator
from pathlib import Path

import msgspec
import pytest
import zmq

from pomona.core.errors import EngineFailed
from pomona.core.status import EngineCounters
from pomona.engine.process.channel import Channel
from pomona.engine.protocol import Cancel, Heartbeat, Step, ToGateway

MOST_STEPS = 100_000
MESSAGE = Heartbeat(EngineCounters(steps=1))


@pytest.fixture
def gateway(tmp_path: Path) -> Generator["zmq.Socket[bytes]"]:
    """A bare socket that takes one message and then waits to be read."""
    with zmq.Context(1) as context, context.socket(zmq.PAIR) as socket:
        socket.setsockopt(zmq.RCVHWM, 1)
        socket.setsockopt(zmq.RCVBUF, 1)
        socket.setsockopt(zmq.LINGER, 0)
        socket.bind(f"ipc://{tmp_path}/socket")
        yield socket


@pytest.fixture
def channel(gateway: "zmq.Socket[bytes]") -> Generator[Channel]:
    address = gateway.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(address, bytes)
    channel = Channel(address.rstrip(b"\0").decode(), high_water=2, patience_seconds=0.05)
    yield channel
    gateway.close()
    channel.close()


def test_a_gateway_that_does_not_read_makes_the_engine_wait_and_not_grow(gateway: "zmq.Socket[bytes]", channel: Channel) -> None:
    sent: list[Step] = []
    with pytest.raises(EngineFailed, match=r"read nothing for 0\.05 seconds"):
        flood(channel, sent)
    assert len(sent) < MOST_STEPS
    decoder = msgspec.msgpack.Decoder(ToGateway)
    assert [decoder.decode(gateway.recv()) for _ in sent] == sent
    channel.send(MESSAGE)
    assert decoder.decode(gateway.recv()) == MESSAGE


def flood(channel: Channel, sent: list[Step]) -> None:
    for number in range(MOST_STEPS):
        step = Step([], EngineCounters(steps=number))
        channel.send(step)
        sent.append(step)


def test_commands_come_one_at_a_time(gateway: "zmq.Socket[bytes]", channel: Channel) -> None:
    assert channel.receive(0) is None
    for name in ("a", "b"):
        gateway.send(msgspec.msgpack.encode(Cancel(name)))
    assert [channel.receive(10), channel.receive(10)] == [Cancel("a"), Cancel("b")]
    assert channel.receive(0.01) is None
