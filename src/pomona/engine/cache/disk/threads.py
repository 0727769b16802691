"""The two threads that touch files, so that the thread that owns the device never waits for a disk."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby

import numpy as np

from pomona.core.telemetry import get_logger
from pomona.engine.cache.disk.form import FileForm
from pomona.engine.cache.disk.lookup import Key, Lookup, Piece, Rules, file_name, key_of
from pomona.engine.cache.disk.prices import Prices
from pomona.engine.cache.disk.store import DiskStore

PIECE_BYTES = 2**23
"""Of what the reader hands over at once."""
RETRY_SECONDS = 300.0
"""From a failed write to the next try."""

Task = Callable[[], None]
log = get_logger(__name__)


class KnownFiles:
    """What is on disk, as far as known, and its bytes, which are told with every step. All threads change it."""

    def __init__(self, sizes: Mapping[Key, int]) -> None:
        self._sizes = dict(sizes)
        self._lock = threading.Lock()
        self.nbytes = sum(sizes.values())

    def __len__(self) -> int:
        return len(self._sizes)

    def __contains__(self, key: Key) -> bool:
        return key in self._sizes

    def add(self, key: Key, size: int) -> None:
        """There is such a file, of this size."""
        with self._lock:
            self.nbytes += size - self._sizes.get(key, 0)
            self._sizes[key] = size

    def discard(self, key: Key) -> None:
        """There is none, or it is not good."""
        with self._lock:
            self.nbytes -= self._sizes.pop(key, 0)

    def clear(self) -> None:
        """There is nothing."""
        with self._lock:
            self._sizes.clear()
            self.nbytes = 0


@dataclass(slots=True)
class Counts:
    """Since the start of this process, but for `kept`."""

    read: int = 0
    bytes_read: int = 0
    written: int = 0
    bytes_written: int = 0
    kept: KnownFiles = field(default_factory=lambda: KnownFiles({}))


class Worker:
    """A thread that does one task after the other."""

    def __init__(self, name: str) -> None:
        self._tasks = queue.SimpleQueue[Task | None]()
        self.processor_seconds = 0.0
        """That it has taken."""
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def ask(self, task: Task) -> None:
        """Do `task` after those before."""
        self._tasks.put(task)

    def close(self, patience_seconds: float) -> None:
        """Finish what was asked for, within so many seconds."""
        self._tasks.put(None)
        self._thread.join(patience_seconds)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()
            self.processor_seconds = time.thread_time()


class Reader:
    """Answers look-ups. What it does not find is taken off `kept`."""

    def __init__(self, store: DiskStore, forms: Mapping[int, FileForm], rules: Rules, prices: Prices, kept: KnownFiles) -> None:
        self._store = store
        self._kept = kept
        self._forms = forms
        self._rules = rules
        self._prices = prices
        self._worker = Worker("prefix-reader")
        self.arrived = threading.Event()
        """Something was read since it was last cleared."""

    def ask(self, lookup: Lookup) -> None:
        """Read what `lookup` wants."""
        self._worker.ask(lambda: self._answer(lookup))

    def close(self) -> None:
        """End the thread; look-ups that are under way had better be dropped before."""
        self._worker.close(0.5)

    def _answer(self, lookup: Lookup) -> None:
        if not lookup.dropped:
            keys = lookup.plan(self._rules, self._has)
            for group, run in _runs(keys, self._forms):
                if lookup.dropped:
                    break
                if not self._read(lookup, group, run):
                    self._doubt(keys)
                    break
            self._store.touch([file_name(key) for key in keys])
        lookup.finished.set()
        self.arrived.set()

    def _has(self, key: Key) -> bool:
        there = self._store.has(file_name(key))
        if not there:
            self._kept.discard(key)
        return there

    def _read(self, lookup: Lookup, group: int, blocks: list[bytes]) -> bool:
        """One piece, or what of it is good; False where something was not."""
        form, began = self._forms[group], time.monotonic()
        data = np.empty((len(blocks), form.data_bytes), np.uint8)
        good = next((n for n, block in enumerate(blocks) if not self._store.read(file_name((group, block)), form, data[n])), len(blocks))
        if good:
            self._prices.note_reading(good * form.data_bytes, time.monotonic() - began)
            lookup.pieces.append(Piece(group, blocks[:good], data[:good]))
            self.arrived.set()
        return good == len(blocks)

    def _doubt(self, keys: Sequence[Key]) -> None:
        """Among these was one that is not good. All are written again when they are computed again."""
        for key in keys:
            self._kept.discard(key)


class Writer:
    """Makes files, keeps to the bound, and stops for a while when the disk does not take them. `counts` is changed by its thread alone."""

    def __init__(self, store: DiskStore, counts: Counts) -> None:
        self._store = store
        self._counts = counts
        self._worker = Worker("prefix-writer")
        self._failed_at: float | None = None
        self._warned = False
        self._asked = self._done = 0  # bytes; each is counted by one thread

    @property
    def pending_bytes(self) -> int:
        """Asked for and not written yet."""
        return self._asked - self._done

    @property
    def processor_seconds(self) -> float:
        """That writing has taken."""
        return self._worker.processor_seconds

    @property
    def works(self) -> bool:
        """The disk takes files, as far as known."""
        return self._failed_at is None or time.monotonic() > self._failed_at + RETRY_SECONDS

    def write(self, form: FileForm, files: Sequence[tuple[Key, Sequence[memoryview]]]) -> None:
        """Make a file of each (key, parts)."""
        self._asked += form.nbytes * len(files)
        self._worker.ask(lambda: self._write(form, files))

    def touch(self, keys: Sequence[Key]) -> None:
        """These were used."""
        self._worker.ask(lambda: self._store.touch([file_name(key) for key in keys]))

    def clear(self) -> None:
        """Delete everything of this model."""
        self._worker.ask(self._clear)

    def close(self, patience_seconds: float) -> None:
        """Write what was asked for, within so many seconds."""
        self._worker.close(patience_seconds)

    def _write(self, form: FileForm, files: Sequence[tuple[Key, Sequence[memoryview]]]) -> None:
        for key, parts in files:
            if not (self.works and self._guarded(partial(self._write_one, key, form, parts))):
                self._counts.kept.discard(key)
            self._done += form.nbytes
        if self.works:
            self._guarded(self._make_room)

    def _write_one(self, key: Key, form: FileForm, parts: Sequence[memoryview]) -> None:
        name = file_name(key)
        try:
            size = self._store.write(name, form, parts)
        except FileNotFoundError:  # somebody has deleted the folder, and perhaps another process has made it again
            if self._store.make_again():
                self._counts.kept.clear()
            size = self._store.write(name, form, parts)
        self._counts.kept.add(key, size)
        self._counts.written += 1
        self._counts.bytes_written += size

    def _make_room(self) -> None:
        for name in self._store.make_room():
            self._counts.kept.discard(key_of(name))

    def _clear(self) -> None:
        self._counts.kept.clear()
        self._guarded(self._store.clear)

    def _guarded(self, task: Task) -> bool:
        """What the disk refuses is not written; serving goes on."""
        try:
            task()
        except OSError as error:
            self._failed_at = time.monotonic()
            if not self._warned:
                log.warning("disk_cache_not_written", reason=str(error), retried_after_seconds=RETRY_SECONDS)
            self._warned = True
            with contextlib.suppress(OSError):  # what fills the disk may be ours
                self._make_room()
            return False
        self._failed_at = None
        return True


def _runs(keys: Sequence[Key], forms: Mapping[int, FileForm]) -> list[tuple[int, list[bytes]]]:
    """`keys` in runs of one group each, none larger than a piece. Groups take turns, so that what is read first is of use alone."""
    most = max(1, PIECE_BYTES // max((forms[group].data_bytes for group, _ in keys), default=1))
    made: list[tuple[int, list[bytes]]] = []
    for start in range(0, len(keys), most * len(forms)):
        part = sorted(keys[start : start + most * len(forms)], key=lambda key: key[0])
        made += [(group, [block for _, block in run]) for group, run in groupby(part, key=lambda key: key[0])]
    return made
