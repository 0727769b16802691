"""The folder of one model's pages and states, and the bound that all such folders share.

`<cache folder>/engines/<version>/<block hash>.<kind>.safetensors`. A file appears under its name whole or not at all: it is written under
another name and moved. It is not forced to the disk: what a power cut leaves is told by its checksum. Several processes may use a
folder: equal names have equal content, so it does not matter who writes, and what somebody deleted is a miss. Deleting for space goes by
time of last use over all models.
"""

import contextlib
import errno
import itertools
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from pomona.core.files.private import write_private
from pomona.engine.cache.disk.folders import (
    ENGINES,
    HALF,
    LEAST_ON_DISK,
    MANIFEST,
    SUFFIX,
    KeptFile,
    bound_bytes,
    delete_folders,
    kept_files,
    space_of,
    version_folders,
)
from pomona.engine.cache.disk.form import FileForm

KEPT_SHARE = 0.9
"""Of the bound: deleting down to this makes room for a while."""
RECOUNT_SHARE = 1 / 16
"""Of the bound: whoever has written so much looks at what others have written meanwhile."""
CLOCK_SECONDS = 60.0
"""A file that was used later than so far from now was written while the clock was wrong."""
TOUCH_NANOSECONDS = 10_000
"""Between files that are used together: what doubles and file systems tell apart."""
_PROCESS = uuid.uuid4().hex[:8]
"""In containers an engine and the one before it have the same process id."""
_numbers = itertools.count()


class DiskStore:
    """Files of one version. `limit_bytes` bounds those of all versions. Not thread-safe but for `read`."""

    def __init__(self, cache_folder: Path, version: str, limit_bytes: int, about: Mapping[str, object]) -> None:
        self.version = version
        self._root = cache_folder / ENGINES
        self._folder = self._root / version
        self._limit = limit_bytes
        self._about = msgspec.json.encode(about)
        self._everything = 0  # bytes of all versions, as far as known
        self._written = 0  # bytes, since all were counted

    def open(self) -> dict[str, int]:
        """Make the folder, sweep away what crashes left, and say what is there: name -> bytes. Raises OSError."""
        self._make_folder()
        found = {file.path.name.removesuffix(SUFFIX): file.size for file in kept_files(self._folder)}
        for name in self.make_room():
            found.pop(name, None)
        return found

    def has(self, name: str) -> bool:
        """Whether there is a file of that name now."""
        return os.access(self._path(name), os.F_OK)

    def read(self, name: str, form: FileForm, data: np.ndarray) -> bool:
        """Fill `data`, (data_bytes,) of bytes. False where there is no good file; one that is not good is deleted. Raises no OSError."""
        path = self._path(name)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)  # a pipe in its place must not be waited for
        except OSError:
            return False
        try:
            good = form.read_into(descriptor, name, data)
        except OSError:
            good = False
        finally:
            os.close(descriptor)
        if not good:
            with contextlib.suppress(OSError):
                path.unlink()
        return good

    def write(self, name: str, form: FileForm, parts: Sequence[memoryview]) -> int:
        """Make the file `name`; its bytes on disk. Raises OSError."""
        half = self._folder / f"{HALF}{os.getpid()}-{_PROCESS}-{next(_numbers)}"
        try:
            descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                size = form.write(descriptor, name, parts)
            finally:
                os.close(descriptor)
            self.move(half, self._path(name))
        except BaseException:
            with contextlib.suppress(OSError):
                half.unlink()
            raise
        size = max(size, LEAST_ON_DISK)
        self._everything += size
        self._written += size
        return size

    def move(self, half: Path, path: Path) -> None:
        """The step in which a file appears under its name, or replaces its equal. Raises OSError."""
        half.replace(path)

    def touch(self, names: Sequence[str]) -> None:
        """These were used now, in this order of a text: the last go first, which are of no use without the first."""
        now = time.time_ns()
        for number, name in enumerate(names):
            used_at = now - number * TOUCH_NANOSECONDS
            with contextlib.suppress(OSError):
                os.utime(self._path(name), ns=(used_at, used_at))

    def make_room(self) -> set[str]:
        """Keep to the bound: delete what was used longest ago, of whatever model; the names that went from this folder. Raises OSError."""
        if self._everything and self._everything <= (bound := self._bound()) and self._written <= RECOUNT_SHARE * bound:
            return set()
        with space_of(self._root):
            files = _by_last_use(self._files())
            self._everything, self._written = sum(file.size for file in files), 0
            bound = self._bound()
            return self._delete(files, self._everything - KEPT_SHARE * bound) if self._everything > bound else set()

    def _delete(self, files: Iterable[KeptFile], nbytes: float) -> set[str]:
        """The first so many bytes of `files`; the names that went from this folder."""
        gone: set[str] = set()
        for file in files:
            if nbytes <= 0:
                break
            try:
                file.path.unlink(missing_ok=True)
            except PermissionError:  # another user's
                continue
            nbytes, self._everything = nbytes - file.size, self._everything - file.size
            if file.path.parent == self._folder:
                gone.add(file.path.name.removesuffix(SUFFIX))
        return gone

    def clear(self) -> None:
        """Delete all files of this version. Raises OSError."""
        delete_folders([self._folder])
        self._make_folder()
        self._everything = 0
        self.make_room()

    def make_again(self) -> bool:
        """Whether the folder had been deleted by somebody; it is there again. Raises OSError."""
        missing = not self._folder.is_dir()
        self._make_folder()
        return missing

    def _make_folder(self) -> None:
        if self._folder.is_symlink():  # what lies behind it is counted by nobody
            raise NotADirectoryError(errno.ENOTDIR, "This must be a folder and is a link. Remove it", str(self._folder))
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (self._folder / MANIFEST).is_file():
            write_private(self._folder / MANIFEST, self._about)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{SUFFIX}"

    def _files(self) -> Iterator[KeptFile]:
        """Those of all versions. What crashes left is deleted on the way."""
        for folder in version_folders(self._root):
            yield from kept_files(folder, _sweep)

    def _bound(self) -> float:
        return bound_bytes(self._root.parent, self._limit, self._everything)


def _by_last_use(files: Iterable[KeptFile]) -> list[KeptFile]:
    """The one used longest ago first, but before it those of a future that a wrong clock saw: they would stay until it comes."""
    latest = time.time() + CLOCK_SECONDS
    return sorted(files, key=lambda file: (file.used_at <= latest, file.used_at))


def _sweep(half: Path) -> None:
    if not _is_alive(half.name):
        with contextlib.suppress(FileNotFoundError, PermissionError, IsADirectoryError):
            half.unlink()


def _is_alive(half: str) -> bool:
    """Whether the process that writes this file still runs. One of another container may be taken for dead: it loses this file."""
    pid, _, rest = half.removeprefix(HALF).partition("-")
    if pid == str(os.getpid()):
        return rest.startswith(_PROCESS)
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except OSError:
        return True
    return True
