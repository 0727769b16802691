"""A repository of the hub at one commit: its files, their sizes and checksums."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from huggingface_hub.hf_api import ModelInfo

from pomona.core.errors import HubFailed


class Digest(Protocol):
    """A running checksum."""

    def update(self, data: bytes, /) -> None:
        """Take more bytes in."""
        ...

    def hexdigest(self) -> str:
        """Of all so far."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """One file. `digest` is the SHA-256 of its content where it is in large-file storage, else Git's SHA-1; both name it in the cache."""

    name: str
    size: int
    digest: str
    git_oid: str
    large: bool

    def new_digest(self) -> Digest:
        """An empty checksum of the kind of `digest`."""
        if self.large:
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository as it is at `commit`; `revision` is what was asked for, such as main."""

    id: str
    revision: str
    commit: str
    files: tuple[RemoteFile, ...]

    def choose(self, names: Iterable[str]) -> tuple[RemoteFile, ...]:
        """The files of these names, the largest first: they take longest."""
        wanted = set(names)
        return tuple(sorted((file for file in self.files if file.name in wanted), key=lambda file: -file.size))


def repository_of(info: ModelInfo, revision: str | None) -> Repository:
    """What the hub says of a repository and its files. Raises HubFailed where it leaves out sizes or checksums."""
    files = tuple(_remote_file(info.id, sibling) for sibling in info.siblings or ())
    if info.sha is None or not files:
        raise HubFailed(f"The hub does not say which files {info.id!r} has at {revision or 'main'!r}. An empty repository holds no model.")
    return Repository(id=info.id, revision=revision or "main", commit=info.sha, files=files)


def total_size(files: Sequence[RemoteFile]) -> int:
    """Bytes of all of them; equal files count once, as the cache keeps them."""
    return sum({file.digest: file.size for file in files}.values())


class _Large(Protocol):
    size: int
    sha256: str


class _Sibling(Protocol):
    rfilename: str
    size: int | None
    blob_id: str | None

    @property
    def lfs(self) -> _Large | None: ...


def _remote_file(repository: str, sibling: _Sibling) -> RemoteFile:
    name, large = sibling.rfilename, sibling.lfs
    size = large.size if large else sibling.size
    if size is None or sibling.blob_id is None or ".." in name.split("/") or name.startswith("/"):
        raise HubFailed(f"The hub does not say size and checksum of {name!r} of {repository!r}, or the name leads elsewhere.")
    return RemoteFile(
        name=name, size=size, digest=large.sha256 if large else sibling.blob_id, git_oid=sibling.blob_id, large=large is not None
    )
