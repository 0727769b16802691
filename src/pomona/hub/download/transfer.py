"""One file over the wire: goes on where it stopped, and is not believed until its checksum fits."""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from pomona.core.errors import ConfigurationError, DoesNotFit, HubFailed, PomonaError
from pomona.hub.download.cache import RepositoryCache
from pomona.hub.download.locks import locked
from pomona.hub.download.repository import RemoteFile
from pomona.hub.remote.connection import HubConnection, in_thread
from pomona.hub.remote.faults import Answer, pause, refusal, unreachable

GAIN_BYTES = 2**24
"""A try that brought this much does not count against hub.retries."""


@dataclass(slots=True, kw_only=True)
class Transfers:
    """Fetches files of one repository. `note` hears of every piece: the file and how many of its bytes are there."""

    connection: HubConnection
    client: httpx.AsyncClient
    cache: RepositoryCache
    note: Callable[[RemoteFile, int], None]

    async def fetch(self, file: RemoteFile) -> None:
        """Have `file` in the cache. Raises HubFailed after the retries, Forbidden, ModelNotFound, DoesNotFit where the disk is full."""
        async with locked(self.cache.lock(file), lambda: self.note(file, self.cache.held_bytes(file))):
            if not self.cache.has(file):
                try:
                    await self._fetch_verified(file)
                except OSError as error:
                    raise _disk_failure(error, file, self.cache.storage) from None
        self.note(file, file.size)

    async def _fetch_verified(self, file: RemoteFile) -> None:
        path = self.cache.partial(file)
        for last in (False, True):
            partial = await in_thread(lambda: PartialFile(path, file))
            try:
                await self._fetch_all(file, partial)
            finally:
                partial.close()
            found = partial.digest.hexdigest()
            if found == file.digest:
                path.replace(self.cache.blob(file))
                return
            path.unlink()  # not to be continued: nobody knows which byte is wrong
            if last:
                raise HubFailed(
                    f"{file.name!r} of {self.cache.repository.id!r} came with a wrong checksum twice: {found} instead of {file.digest}. "
                    "The hub or a proxy on the way damages files; nothing of this one was kept. Try again later, or another hub.endpoint."
                )

    async def _fetch_all(self, file: RemoteFile, partial: "PartialFile") -> None:
        attempt = 0
        while partial.size < file.size:
            before = partial.size
            try:
                await self._stream(file, partial)
            except httpx.HTTPError as error:
                failure, wait = self._judge(error, attempt)
                attempt = 1 if partial.size - before >= GAIN_BYTES else attempt + 1
                if wait is None or attempt > self.connection.settings.retries:
                    raise failure from None
                await self.connection.sleep(wait)

    async def _stream(self, file: RemoteFile, partial: "PartialFile") -> None:
        """Ask for the rest and append it. Raises httpx.HTTPError where it breaks off."""
        repository = self.cache.repository
        url = self.connection.file_url(repository.id, repository.commit, file.name)
        headers = {"range": f"bytes={partial.size}-"} if partial.size else {}
        async with self.client.stream("GET", url, headers=headers) as response:
            if response.status_code == 416:
                partial.restart()
                raise httpx.RemoteProtocolError("the hub does not know the rest of the file")
            response.raise_for_status()
            if not _continues(response, partial.size):
                partial.restart()
            async for piece in response.aiter_raw():
                partial.append(piece)
                self.note(file, partial.size)
        if partial.size < file.size:
            raise httpx.RemoteProtocolError(f"the answer ended after {partial.size:,} of {file.size:,} bytes")

    def _judge(self, error: httpx.HTTPError, attempt: int) -> tuple[PomonaError, float | None]:
        repository = self.cache.repository
        subject = self.connection.subject(repository.id, repository.revision)
        if isinstance(error, httpx.HTTPStatusError):
            answer = Answer(status=error.response.status_code, headers=dict(error.response.headers))
            return refusal(answer, subject), pause(attempt, answer)
        return unreachable(error, subject), pause(attempt)


class PartialFile:
    """The beginning of a file, on disk, with the checksum so far. Opening it reads what is there. Raises OSError."""

    def __init__(self, path: Path, file: RemoteFile) -> None:
        self._file = file
        self._disk = path.open("a+b", buffering=0)
        self.digest = file.new_digest()
        self.size = 0
        self._disk.seek(0)
        while piece := self._disk.read(2**20):
            self.digest.update(piece)
            self.size += len(piece)
        if self.size > file.size:
            self.restart()

    def append(self, piece: bytes) -> None:
        """Add what came. Raises OSError, and httpx.RemoteProtocolError for more bytes than the file has."""
        if self.size + len(piece) > self._file.size:
            self.restart()
            raise httpx.RemoteProtocolError(f"more than the {self._file.size:,} bytes of the file came")
        rest = memoryview(piece)
        while rest:  # a raw file may take less than it is given
            rest = rest[self._disk.write(rest) :]
        self.digest.update(piece)
        self.size += len(piece)

    def restart(self) -> None:
        """Forget all of it."""
        self._disk.truncate(0)
        self.digest = self._file.new_digest()
        self.size = 0

    def close(self) -> None:
        """Keep what is there."""
        self._disk.close()


def _continues(response: httpx.Response, size: int) -> bool:
    """Whether the answer begins at byte `size`. A server may ignore what was asked for and send all."""
    if response.status_code != 206:
        return size == 0
    return response.headers.get("content-range", "").startswith(f"bytes {size}-")


def _disk_failure(error: OSError, file: RemoteFile, folder: Path) -> PomonaError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DoesNotFit(
            f"The disk of {str(folder)!r} is full: {file.name!r} needs {file.size:,} bytes. What came is kept: make room "
            "(`pomona remove NAME`) and pull again.",
            required_bytes=file.size,
        )
    return ConfigurationError(f"{str(folder)!r} cannot be written: {error.strerror or error}. HF_HOME chooses another folder.")
