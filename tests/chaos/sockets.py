"""A client that can do everything wrong that a client can: HTTP/1.1 by hand over one connection for each request."""

import asyncio
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tests.chaos.plan import Manner

STALL_SECONDS = 1.5
_PIECES = 5
_PIECE_SECONDS = 0.05
_SMALL_BUFFER = 2048
_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER: closing sends a reset and drops what is under way."""


@dataclass(slots=True)
class Exchange:
    """What came back. `status` 0: nothing. `ended`: the answer is complete, or was cut by this client, or by the server."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytearray = field(default_factory=bytearray)
    ended: Literal["complete", "left", "cut"] = "cut"


class Client:
    """Asks one server."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._address = host, int(port)

    async def post(self, path: str, body: bytes, manner: Manner = "reads", at: int = 0) -> Exchange:
        """Ask, and read the answer in that manner."""
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        whole = head.encode() + body
        size = -(-len(whole) // _PIECES)
        pieces = [whole[start : start + size] for start in range(0, len(whole), size)] if manner == "drips" else [whole]
        return await self._exchange(pieces, _Reading(manner=manner, at=at))

    async def send(self, raw: bytes, *, ends: bool) -> Exchange:
        """Send bytes as they are; `ends`: close the sending side after them."""
        return await self._exchange([raw], _Reading(manner="half" if ends else "reads", at=-1 if ends else 0))

    async def _exchange(self, pieces: Sequence[bytes], reading: "_Reading") -> Exchange:
        plug = socket.socket()
        plug.setblocking(False)
        if reading.manner == "stalls":
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
        exchange = Exchange()
        try:
            await asyncio.get_running_loop().sock_connect(plug, self._address)
            reader, writer = await asyncio.open_connection(sock=plug, limit=_SMALL_BUFFER if reading.manner == "stalls" else 2**16)
        except OSError:
            plug.close()
            return exchange
        try:
            await _write(writer, pieces)
            await _Hand(reader, writer, reading, exchange).read()
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass  # the server closed the connection: `ended` says so
        finally:
            writer.transport.abort()
        return exchange


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    manner: Manner
    at: int


class _Hand:
    """Reads one answer, or not."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reading: _Reading, into: Exchange) -> None:
        self._reader = reader
        self._writer = writer
        self._reading = reading
        self._exchange = into
        self._shown = False

    async def read(self) -> None:
        if self._reading.manner == "leaves":
            await asyncio.sleep(self._reading.at / 60_000)
            self._cut("rst" if self._reading.at % 2 else "fin")
            return
        if self._reading.at < 0:
            self._writer.write_eof()
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self._exchange.status = int(head[0].split()[1])
        self._exchange.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        whole = await (self._chunks() if "transfer-encoding" in self._exchange.headers else self._length())
        if whole:
            self._exchange.ended = "complete"

    async def _chunks(self) -> bool:
        while size := int(await self._reader.readline(), 16):
            self._exchange.body += (await self._reader.readexactly(size + 2))[:-2]
            if not await self._go_on():
                return False
        await self._reader.readexactly(2)
        return True

    async def _length(self) -> bool:
        left = int(self._exchange.headers.get("content-length", "0"))
        while left:
            part = await self._reader.read(min(left, 4096))
            if not part:
                return False
            left -= len(part)
            self._exchange.body += part
            if not await self._go_on():
                return False
        return True

    async def _go_on(self) -> bool:
        """Do what the manner is, once its time has come. False: this client has left."""
        if self._shown or len(self._exchange.body) < self._reading.at:
            return True
        self._shown = True
        match self._reading.manner:
            case "stalls":
                await asyncio.sleep(STALL_SECONDS)
            case "rst" | "fin":
                self._cut(self._reading.manner)
                return False
            case "half":
                self._writer.write_eof()
                self._exchange.ended = "left"
                while await self._reader.read(65536):
                    pass
                return False
            case _:
                pass
        return True

    def _cut(self, manner: Literal["rst", "fin"]) -> None:
        self._exchange.ended = "left"
        if manner == "rst":
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self._writer.transport.abort()
        else:
            self._writer.close()


async def _write(writer: asyncio.StreamWriter, pieces: Sequence[bytes]) -> None:
    for number, piece in enumerate(pieces):
        if number:
            await asyncio.sleep(_PIECE_SECONDS)
        writer.write(piece)
        try:
            await writer.drain()
        except OSError:
            return  # a server may answer and close before it has read all; then there is still something to read
