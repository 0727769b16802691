"""http: and https: addresses, loaded without letting a request reach what only this machine can reach.

The name is resolved once, the address is checked, and exactly that address is connected to: a name server that answers differently
the second time (DNS rebinding) has no second time. Each redirect goes through all of it again.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

import httpx

from pomona.core.errors import PictureRefused
from pomona.pictures.sources.data_urls import shortened, too_large
from pomona.pictures.sources.networks import Address, Guard

MOST_REDIRECTS = 3
AT_ONCE = 8
"""Pictures that are loaded at the same time, of all requests together."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NO_PICTURE = ("text/", "application/json", "application/xhtml", "application/javascript", "video/", "audio/")
Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]


async def system_resolve(host: str, port: int) -> Sequence[Address]:
    """The addresses of `host` as this machine resolves it. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    url: httpx.URL
    address: Address

    @property
    def request_url(self) -> httpx.URL:
        """The same address with the number in place of the name, so that nobody resolves it again."""
        literal = f"[{self.address}]" if isinstance(self.address, IPv6Address) else str(self.address)
        return self.url.copy_with(host=literal)


class WebSource:
    """Loads pictures over HTTP. `resolve` turns a host's name into addresses. Works on any event loop.

    Nothing of the environment is used: a proxy would connect to what it likes, and a .netrc would give passwords away.
    """

    def __init__(self, guard: Guard, *, seconds: float, max_bytes: int, resolve: Resolve = system_resolve) -> None:
        self._guard = guard
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._resolve = resolve

    async def load(self, url: str, param: str) -> bytes:
        """The body behind `url`. Raises PictureRefused."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._follow(url, param)
        except TimeoutError:
            raise PictureRefused(
                f"{param}: loading {shortened(url)} took longer than {self._seconds:g} seconds (setting pictures.fetch_seconds).",
                param=param,
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise PictureRefused(f"{param}: {shortened(url)} cannot be loaded: {reason}.", param=param) from None

    async def _follow(self, url: str, param: str) -> bytes:
        async with httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=self._seconds) as client:
            for _ in range(MOST_REDIRECTS + 1):
                target = await self._target(url, param)
                found = await self._ask(client, target, param)
                if isinstance(found, bytes):
                    return found
                url = found
        raise PictureRefused(f"{param}: the address leads on more than {MOST_REDIRECTS} times. Give the last one.", param=param)

    async def _target(self, text: str, param: str) -> _Target:
        url = httpx.URL(text)
        if url.scheme not in ("http", "https") or not url.host:
            raise PictureRefused(f"{param}: {shortened(text)} is no http: or https: address of a host.", param=param)
        if url.userinfo:
            raise PictureRefused(f"{param}: an address with a user name or password in it is not loaded.", param=param)
        host = url.raw_host.decode("ascii")
        addresses = await self._resolve(host.strip("[]"), url.port or (443 if url.scheme == "https" else 80))
        if not addresses:
            raise PictureRefused(f"{param}: the host {host!r} has no address.", param=param)
        for address in addresses:
            reason = self._guard.refusal(host, address)
            if reason:
                raise PictureRefused(
                    f"{param}: the host {host!r} must not be loaded from: {reason}. Send the picture as a data: address, or allow the host "
                    "with the setting pictures.fetch_private.",
                    param=param,
                )
        return _Target(url=url, address=addresses[0])

    async def _ask(self, client: httpx.AsyncClient, target: _Target, param: str) -> bytes | str:
        """The body, or the address that the answer leads on to."""
        host = target.url.netloc.decode("ascii")
        request = client.build_request(
            "GET",
            target.request_url,
            headers={"host": host, "accept": "image/*, application/pdf", "accept-encoding": "identity", "user-agent": "pomona"},
            extensions={"sni_hostname": target.url.raw_host.decode("ascii")},
        )
        answer = await client.send(request, stream=True)
        try:
            location = answer.headers.get("location")
            if answer.status_code in _REDIRECTS and location:
                return str(target.url.join(location))
            self._check(answer, target, param)
            return await self._read(answer, param)
        finally:
            await answer.aclose()

    def _check(self, answer: httpx.Response, target: _Target, param: str) -> None:
        shown = shortened(str(target.url))
        if answer.status_code != 200:
            raise PictureRefused(f"{param}: {shown} answered with status {answer.status_code}.", param=param)
        encoding = answer.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):  # it was not asked for, and may unpack to any size
            raise PictureRefused(f"{param}: {shown} answered with a body packed as {encoding!r}, which is not unpacked.", param=param)
        kind = answer.headers.get("content-type", "").strip().lower()
        if kind.startswith(_NO_PICTURE):
            raise PictureRefused(f"{param}: {shown} is {kind.partition(';')[0]!r}, no picture.", param=param)
        length = answer.headers.get("content-length", "")
        if length.isdecimal() and int(length[:18]) > self._max_bytes:
            raise too_large(self._max_bytes, param)

    async def _read(self, answer: httpx.Response, param: str) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in answer.aiter_raw():
            size += len(chunk)
            if size > self._max_bytes:
                raise too_large(self._max_bytes, param)
            chunks.append(chunk)
        return b"".join(chunks)
