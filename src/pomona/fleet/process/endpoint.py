"""A private place in the file system where a gateway and its engine find each other.

The folder goes as soon as the engine has connected: a connection outlives its name. What a gateway killed before that leaves
behind, the next one sweeps up.
"""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "pomona-engine-"
LONGEST_PATH = 100
"""Of a socket: the systems allow 104 bytes (macOS) and 108 (Linux)."""
SOCKET_NAME = "socket"


class Endpoint:
    """A folder that only this user can enter, locked for as long as this process uses it."""

    def __init__(self, parent: Path | None = None) -> None:
        self._folder, self._lock = _make_folder(parent or _short_folder())

    @property
    def address(self) -> str:
        """For ZeroMQ."""
        return f"ipc://{self._folder / SOCKET_NAME}"

    def remove(self) -> None:
        """Remove the folder. May be called again."""
        if self._lock is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            os.close(self._lock)
            self._lock = None


def sweep_endpoints(parent: Path | None = None) -> None:
    """Remove this user's folders that no living process holds."""
    for folder in (parent or _short_folder()).glob(f"{PREFIX}*"):
        lock = _lock(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _short_folder() -> Path:
    """The system's folder for temporary files, unless its path is too long for a socket."""
    folder = Path(tempfile.gettempdir())
    longest = folder / f"{PREFIX}xxxxxxxx" / SOCKET_NAME
    return folder if len(os.fsencode(longest)) <= LONGEST_PATH else Path("/tmp")


def _make_folder(parent: Path) -> tuple[Path, int]:
    """A locked folder. A sweep can only take it in the moment before it is locked: then make another."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        lock = _lock(folder)
        if lock is not None:
            return folder, lock


def _lock(folder: Path) -> int | None:
    """A descriptor of `folder` that holds its lock; None where another process holds it, or it is gone or not ours."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_uid == os.getuid() and folder.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None
