"""A web server of this machine that misbehaves in the ways that its paths name, and a name server that answers what a test wants."""

import asyncio
import gzip
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address

from pomona.pictures.sources.networks import Address

DRIP_SECONDS = 0.01


@dataclass(slots=True)
class Names:
    """A resolver. Each name has answers that are given one after the other, the last one for ever."""

    answers: Mapping[str, Sequence[Sequence[str]]]
    asked: list[str] = field(default_factory=list[str])

    async def resolve(self, host: str, port: int) -> Sequence[Address]:
        """The next answer for `host`."""
        given = self.answers.get(host)
        if given is None:
            raise OSError("no such host")
        self.asked.append(host)
        return [ip_address(each) for each in given[min(self.asked.count(host), len(given)) - 1]]


@dataclass(slots=True)
class HostileServer:
    """What it was asked, head by head. `bodies` are sent under their paths."""

    bodies: dict[str, bytes]
    port: int = 0
    heads: list[str] = field(default_factory=list[str])
    answering: set["asyncio.Task[None]"] = field(default_factory=set["asyncio.Task[None]"])

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["HostileServer"]:
        """Serve while inside."""
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()
            for task in self.answering:
                task.cancel()
            await asyncio.gather(*self.answering, return_exceptions=True)

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.answering.add(asyncio.ensure_future(self._answer(reader, writer)))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            path = head.split()[1]
            if path == "/endless":
                await self._endless(writer)
            elif path == "/drip":
                await self._drip(writer)
            else:
                writer.write(self._whole(path))
                await writer.drain()

    def _whole(self, path: str) -> bytes:
        if path.startswith("/to/"):
            return _head("302 Found", location=path.removeprefix("/to/"))
        if path in _ANSWERS:
            return _ANSWERS[path]
        if path in self.bodies:
            return _head("200 OK", "image/png", length=len(self.bodies[path])) + self.bodies[path]
        return _head("404 Not Found")

    async def _endless(self, writer: asyncio.StreamWriter) -> None:
        writer.write(_head("200 OK", "image/png"))
        while True:
            writer.write(bytes(65536))
            await writer.drain()

    async def _drip(self, writer: asyncio.StreamWriter) -> None:
        writer.write(_head("200 OK", "image/png"))
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(DRIP_SECONDS)


def _head(status: str, kind: str = "", *, location: str = "", encoding: str = "", length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Connection: close"]
    for name, value in (("Content-Type", kind), ("Location", location), ("Content-Encoding", encoding)):
        if value:
            lines.append(f"{name}: {value}")
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


_ANSWERS = {
    "/loop": _head("302 Found", location="/loop"),
    "/page": _head("200 OK", "text/html; charset=utf-8") + b"<html></html>",
    "/gzip": _head("200 OK", "image/png", encoding="gzip") + gzip.compress(bytes(2**24)),
    "/huge": _head("200 OK", "image/png", length=2**40),
}
