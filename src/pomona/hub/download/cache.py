"""One repository in Hugging Face's cache, laid out as its library does, so that each finds what the other downloaded.

models--ORGANISATION--NAME/blobs/DIGEST                 the files, by checksum; DIGEST.incomplete while they come
models--ORGANISATION--NAME/snapshots/COMMIT/FILE        links into blobs
models--ORGANISATION--NAME/refs/REVISION                the commit of a branch or tag
models--ORGANISATION--NAME/trees/COMMIT.json            which files a commit has
.locks/models--ORGANISATION--NAME/DIGEST.lock           held by whoever downloads that file
"""

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pomona.core.errors import HubFailed
from pomona.hub.download.repository import RemoteFile, Repository
from pomona.models.hub_cache import cache_folder, storage_folder

_DIGEST = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


class RepositoryCache:
    """Where the files of `repository` are, or will be. Files may be there already: of another commit, or of `hf download`."""

    def __init__(self, repository: Repository, cache: Path | None = None) -> None:
        self.repository = repository
        self.storage = storage_folder(repository.id, cache)
        self.snapshot = self.storage / "snapshots" / repository.commit
        self._locks = cache_folder(cache) / ".locks" / self.storage.name

    def blob(self, file: RemoteFile) -> Path:
        """Where the content goes. Raises HubFailed for a checksum that is none: it becomes a file name."""
        if not _DIGEST.fullmatch(file.digest):
            raise HubFailed(f"The hub gives {file.digest!r} as the checksum of {file.name!r}, which is none.")
        return self.storage / "blobs" / file.digest

    def partial(self, file: RemoteFile) -> Path:
        """Where the content lies while it comes."""
        return self.blob(file).with_name(f"{file.digest}.incomplete")

    def has(self, file: RemoteFile) -> bool:
        """Whether the whole content is there. Another file of that name in the snapshot counts as well: someone may have no links."""
        return any(_size(path) == file.size for path in (self.blob(file), self.snapshot / file.name))

    def missing(self, files: Sequence[RemoteFile]) -> list[RemoteFile]:
        """Those that are not there, each content once."""
        return list({file.digest: file for file in files if not self.has(file)}.values())

    def held_bytes(self, file: RemoteFile) -> int:
        """How much of a missing file is there."""
        return min(_size(self.partial(file)) or 0, file.size)

    def begin(self, *, listed: bool = True) -> None:
        """Make the folders. `listed`: write down what the commit holds, so that all can tell what is missing. Raises OSError."""
        self.snapshot.mkdir(parents=True, exist_ok=True)
        (self.storage / "blobs").mkdir(exist_ok=True)
        tree = self.storage / "trees" / f"{self.repository.commit}.json"
        if listed and not tree.is_file():
            listing = {file.name: _tree_entry(file) for file in sorted(self.repository.files, key=lambda file: file.name)}
            _write(tree, json.dumps({"format_version": 1, "files": listing}, indent=1))
        if not self._reference.is_file():
            self.point()

    def point(self) -> None:
        """Let the revision mean this commit from now on. Raises OSError."""
        if self.repository.revision != self.repository.commit:
            _write(self._reference, self.repository.commit)

    def link(self, file: RemoteFile) -> None:
        """Show a file that is there under its name in the snapshot. Raises OSError."""
        pointer = self.snapshot / file.name
        if _size(pointer) == file.size and not (pointer.is_symlink() and pointer.resolve() != self.blob(file).resolve()):
            return
        pointer.parent.mkdir(parents=True, exist_ok=True)
        half = pointer.with_name(f".{pointer.name}.{os.getpid()}")
        half.unlink(missing_ok=True)
        half.symlink_to(os.path.relpath(self.blob(file), pointer.parent))
        half.replace(pointer)

    def lock(self, file: RemoteFile) -> Path:
        """Held by whoever downloads `file`, in processes of Hugging Face's library too."""
        return self._locks / f"{file.digest}.lock"

    @property
    def _reference(self) -> Path:
        return self.storage / "refs" / self.repository.revision


def _tree_entry(file: RemoteFile) -> dict[str, object]:
    large: dict[str, object] = {"lfs_sha256": file.digest, "lfs_size": file.size} if file.large else {}
    return {"size": file.size, "blob_id": file.git_oid, **large}


def _write(path: Path, text: str) -> None:
    """Replace `path` in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, half = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(half).chmod(0o644)
        Path(half).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(half).unlink()
        raise


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
