"""The file of API keys: changed by the command line, watched by running servers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pomona.control.callers import Scope
from pomona.control.keys import Key, KeyRing
from pomona.core.errors import ConfigurationError
from pomona.core.files.private import locked, write_private
from pomona.core.telemetry import get_logger

LOOK_SECONDS = 1.0
log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    version: int = 1
    keys: tuple[Key, ...] = ()


class KeyFile:
    """Keys on disk, readable by their owner only. A reader sees the old file or the new one, never half of one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> tuple[Key, ...]:
        """All keys; none where there is no file. Raises ConfigurationError."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=_Document).keys
        except FileNotFoundError:
            return ()
        except (OSError, msgspec.MsgspecError) as error:
            advice = "Mend it or put back a copy; or remove it and make new keys."
            raise ConfigurationError(f"The file of API keys {str(self.path)!r} cannot be read: {error}. {advice}") from None

    def change(self, change: Callable[[tuple[Key, ...]], Sequence[Key]]) -> None:
        """Replace the keys by `change` of them; processes that do so take turns. Raises ConfigurationError, and what `change` raises."""
        try:
            with locked(self.path):
                keys = tuple(change(self.read()))
                write_private(self.path, msgspec.json.format(msgspec.json.encode(_Document(keys=keys)), indent=1) + b"\n")
        except OSError as error:
            raise ConfigurationError(f"The file of API keys {str(self.path)!r} cannot be written: {error.strerror}.") from None

    def stamp(self) -> tuple[int, int, int] | None:
        """Differs whenever the file does; None where there is none. Costs one stat."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


class WatchedKeys:
    """The keys of a file, looked at again at most once a second. `clock` is in seconds and only rises.

    A file that cannot be read any more leaves the keys as they were: a slip of an editor must not lock out everybody, nor let them in.
    """

    def __init__(self, file: KeyFile, clock: Callable[[], float]) -> None:
        self._file = file
        self._clock = clock
        self._stamp = file.stamp()
        self._ring = KeyRing(file.read())
        self._looked = clock()

    @property
    def exist(self) -> bool:
        """Whether there is any key."""
        return self._fresh().exist

    def find(self, text: str) -> Key | None:
        """The key that `text` is."""
        return self._fresh().find(text)

    def open(self, scope: Scope, now: float) -> bool:
        """Whether some key opens an address that needs `scope` at the Unix time `now`."""
        keys = self._fresh().keys.values()
        return any(key.state(now) == "active" and scope in {"public", key.scope} for key in keys)

    def _fresh(self) -> KeyRing:
        now = self._clock()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._look()
        return self._ring

    def _look(self) -> None:
        stamp = self._file.stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._ring = KeyRing(self._file.read())
        except ConfigurationError as error:
            log.error("keys_unreadable", problem=error.message)
        else:
            log.info("keys_changed", keys=len(self._ring.keys))
