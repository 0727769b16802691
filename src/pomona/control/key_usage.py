"""What each key was used for: kept in memory, added to a file beside the keys now and then."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pomona.core.files.private import locked, write_private
from pomona.core.records import RequestRecord
from pomona.core.telemetry import get_logger

WRITE_SECONDS = 60.0
log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """Requests and tokens (prompt and completion) so far; `last_used` in Unix seconds, as of the last write."""

    requests: int = 0
    tokens: int = 0
    last_used: int = 0

    def plus(self, other: "Use") -> "Use":
        """Both together."""
        last = max(self.last_used, other.last_used)
        return Use(requests=self.requests + other.requests, tokens=self.tokens + other.tokens, last_used=last)


def usage_path(keys_path: Path) -> Path:
    """Where the use of the keys in `keys_path` is written."""
    return keys_path.with_name(f"{keys_path.stem}-usage.json")


def read_usage(path: Path) -> Mapping[str, Use]:
    """Use by key id. Nothing where there is no file, or none that can be read: it is only statistics."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Use])
    except (OSError, msgspec.MsgspecError):
        return {}


class UsageBook:
    """A listener to records that adds them up by caller. `now` is in Unix seconds; `clock` only rises.

    What was added is written by `writer` at most once a minute, so that no request waits for the disk, and by `close`. What cannot be
    written is kept for the next time. Several servers may write into one file.
    """

    def __init__(self, path: Path, now: Callable[[], float], writer: Executor, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._now = now
        self._writer = writer
        self._clock = clock
        self._new: dict[str, Use] = {}
        self._unwritten: deque[Mapping[str, Use]] = deque()
        self._written = clock()

    def __call__(self, record: RequestRecord) -> None:
        """Count a request."""
        if not record.caller:
            return
        tokens = record.usage.total_tokens if record.outcome == "ok" else 0
        self._new[record.caller] = self._new.get(record.caller, Use()).plus(Use(requests=1, tokens=tokens, last_used=int(self._now())))
        if self._clock() - self._written >= WRITE_SECONDS:
            self._written = self._clock()
            self._writer.submit(self._add, self._take())

    def close(self) -> None:
        """Write what is left."""
        self._add(self._take())

    def _take(self) -> Mapping[str, Use]:
        new, self._new = self._new, {}
        while self._unwritten:
            for key, use in self._unwritten.popleft().items():
                new[key] = new.get(key, Use()).plus(use)
        return new

    def _add(self, new: Mapping[str, Use]) -> None:
        if not new:
            return
        try:
            with locked(self._path):
                total = dict(read_usage(self._path))
                for key, use in new.items():
                    total[key] = total.get(key, Use()).plus(use)
                write_private(self._path, msgspec.json.encode(total))
        except OSError as error:
            self._unwritten.append(new)
            log.warning("key_usage_not_written", path=str(self._path), problem=error.strerror)
