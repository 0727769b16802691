"""The disk tier of one engine: what its rows find on disk, and what of theirs is put there.

Reading: a new row that could take more from disk than from memory waits (`Sequence.awaits_pages`) while a thread reads. What arrives
is put into pages and indexed as if the engine had computed it; then the row is admitted like any other. It waits no longer than
computing would last.

Writing: full blocks are noted when a row has computed them. Their pages are copied to main memory when the device stands still, in
small amounts: in steps that have nothing else to do, or else as far as `COPY_SHARE` allows. A second thread makes files of them.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from pomona.engine.cache.disk.absent import DiskCounts, NoDisk
from pomona.engine.cache.disk.lookup import STATE, Key, Lookup, Piece, Rules, key_of
from pomona.engine.cache.disk.planes import PagePlanes, StatePlanes
from pomona.engine.cache.disk.prices import Prices
from pomona.engine.cache.disk.store import DiskStore
from pomona.engine.cache.disk.threads import Counts, KnownFiles, Reader, Writer
from pomona.engine.cache.model_cache import ModelCache
from pomona.engine.sequence import Sequence

LEAST_BLOCKS = 4
"""Shorter beginnings are neither looked for nor kept."""
COPY_SHARE = 0.015
"""Of the time in which rows are at work: for the copies, with waiting until the device stands still, and for the writer's processor."""
BURST_SECONDS = 0.005
"""Of that share that may be saved up."""
BATCH_BYTES = 2**22
"""Copied at once, about 2 ms on a CPU."""
PENDING_BYTES = 2**26
"""Copies that may wait for the writer."""
STATE_STRIDE = 16
"""Blocks between the states that are kept of a long answer; those of a prompt's end and an answer's end are kept as well."""
CLOSE_SECONDS = 1.5
"""For what is still to be copied, and again for what is to be written. An engine that was told to end has 5 seconds."""


@dataclass(slots=True, eq=False)
class _Arrival:
    """A row that waits, and the pages that are held for it until it can take them over."""

    row: Sequence
    lookup: Lookup
    held: list[list[int]] = field(default_factory=list[list[int]])


class DiskTier(NoDisk):
    """Owned by the device thread. `settle` waits until nothing reads or writes the pools."""

    def __init__(self, cache: ModelCache, store: DiskStore, settle: Callable[[], None], prices: Prices | None = None) -> None:
        self._cache = cache
        self._settle = settle
        self._prices = prices or Prices()
        self._planes = [PagePlanes(group.layers, store.version) for group in cache.groups]
        self._states = StatePlanes(cache.zero_state, store.version) if cache.zero_state else None
        forms = {number: planes.form for number, planes in enumerate(self._planes)}
        if self._states:
            forms[STATE] = self._states.form
        self._counts = Counts(kept=KnownFiles({key_of(name): size for name, size in store.open().items()}))
        rules = Rules(
            [lambda blocks, group=group: group.sight.needed(blocks, cache.page_tokens) for group in cache.groups],
            [group.window is not None for group in cache.groups],
            cache.recurrent,
        )
        self._block_bytes = sum(planes.form.data_bytes for planes in self._planes)
        self._reader = Reader(store, forms, rules, self._prices, self._counts.kept)
        self._writer = Writer(store, self._counts)
        self._expected: list[Sequence] = []
        self._arrivals: list[_Arrival] = []
        self._queue: dict[Key, None] = {}  # to be copied, oldest first
        self._noted: dict[Sequence, tuple[int, float]] = {}
        self._allowance_seconds = 0.0
        self._writer_seconds = 0.0
        self._processor_at = time.process_time()
        self._advanced_at = time.monotonic()
        cache.committed = self._note

    @property
    def has_work(self) -> bool:
        """A row waits for the disk, or something is to be copied and there is room for it."""
        return bool(self._expected or self._arrivals or (self._queue and self._has_room))

    def expect(self, row: Sequence) -> None:
        """A new row: look for its beginning as soon as its adapter is there."""
        if self._cache.share and not self._cache.opaque and row.reusable // self._cache.page_tokens >= LEAST_BLOCKS:
            row.awaits_pages = True
            self._expected.append(row)

    def recall(self, row: Sequence) -> None:
        """A row that comes back, and has lost its pages: look now for what memory has let go of since."""
        self._noted.pop(row, None)  # what was not copied in time is to be copied when it is computed again
        self.expect(row)
        if row.awaits_pages:
            self._look(row, time.monotonic())

    def forget(self, row: Sequence) -> None:
        """The row ends."""
        self._noted.pop(row, None)
        if self._states and len(row.block_hashes) >= LEAST_BLOCKS:
            last = next((block for block in reversed(row.block_hashes) if block in self._cache.snapshots), None)
            if last is not None and (STATE, last) not in self._counts.kept:
                self._queue.setdefault((STATE, last))
        if row in self._expected:
            self._expected.remove(row)
        for arrival in [arrival for arrival in self._arrivals if arrival.row is row]:
            self._finish(arrival)

    def advance(self, *, busy: bool) -> None:
        """Before each step: take what has arrived, look for what new rows could have, copy a little. `busy`: rows are at work."""
        now = time.monotonic()
        self._allow(now, busy=busy)
        for arrival in list(self._arrivals):
            self._take(arrival, now)
        for row in [row for row in self._expected if not row.awaits_adapter]:
            self._look(row, now)
        if not self._writer.works:
            self._queue.clear()
        if self._queue and self._has_room and (self._allowance_seconds > 0 or not busy):
            self._copy()

    def wait(self, seconds: float) -> None:
        """Nothing else can be done: wait for the disk, so long at most."""
        if self._arrivals:
            self._reader.arrived.wait(seconds)
            self._reader.arrived.clear()

    def held_pages(self, group: int) -> Iterator[int]:
        """Pages of that group that are held for rows which wait."""
        return (page for arrival in self._arrivals for page in arrival.held[group])

    def counts(self) -> DiskCounts:
        """For `EngineCounters`."""
        counts = self._counts
        return {
            "disk_files": len(counts.kept),
            "disk_bytes": counts.kept.nbytes,
            "disk_blocks_read": counts.read,
            "disk_bytes_read": counts.bytes_read,
            "disk_blocks_written": counts.written,
            "disk_bytes_written": counts.bytes_written,
        }

    def clear(self) -> None:
        """Forget all that is on disk of this model."""
        self._queue.clear()
        self._writer.clear()

    def close(self) -> None:
        """Put the rest on disk, within a few seconds."""
        for row in [*self._expected, *(arrival.row for arrival in self._arrivals)]:
            self.forget(row)
        until = time.monotonic() + CLOSE_SECONDS
        while self._queue and self._writer.works and time.monotonic() < until:
            self._copy()
        self._reader.close()
        self._writer.close(CLOSE_SECONDS)

    @property
    def _has_room(self) -> bool:
        return self._writer.pending_bytes < PENDING_BYTES

    def _allow(self, now: float, *, busy: bool) -> None:
        """What is done while nobody waits is free. Time in which the process did not get the processor counts for nothing."""
        processor, writer = time.process_time(), self._writer.processor_seconds
        at_work = min(now - self._advanced_at, processor - self._processor_at)
        gained = COPY_SHARE * at_work - (writer - self._writer_seconds)
        self._allowance_seconds = min(BURST_SECONDS, self._allowance_seconds + gained)
        self._advanced_at, self._processor_at, self._writer_seconds = now, processor, writer
        if not busy:
            self._allowance_seconds = max(0.0, self._allowance_seconds)

    def _look(self, row: Sequence, now: float) -> None:
        hashes = self._cache.hashes(row)
        in_memory = self._cache.match(row)
        arriving = {block for arrival in self._arrivals for block in arrival.lookup.hashes[arrival.lookup.known_blocks :]}
        if in_memory < len(hashes) and hashes[in_memory] in arriving:
            return  # another row waits for just this beginning: it will be in memory
        self._expected.remove(row)
        self._writer.touch([key for key in self._keys(hashes) if key in self._counts.kept])
        missing = len(hashes) - in_memory
        tokens = missing * self._cache.page_tokens
        if missing < LEAST_BLOCKS or not self._prices.pays(tokens, missing * self._block_bytes):
            row.awaits_pages = False
            return
        there = frozenset(key for key in self._keys(hashes) if self._find(key) is not None)
        lookup = Lookup(hashes, there, in_memory, now + self._prices.patience_seconds(tokens))
        self._arrivals.append(_Arrival(row, lookup, self._hold(there, hashes)))
        self._reader.ask(lookup)

    def _hold(self, there: frozenset[Key], hashes: list[bytes]) -> list[list[int]]:
        """Keep what is in memory from being pushed out by what arrives."""
        held: list[list[int]] = []
        for number, group in enumerate(self._cache.groups):
            pages = [group.allocator.find(block) for block in hashes if (number, block) in there]
            held.append([page for page in pages if page is not None])
            for page in held[-1]:
                group.allocator.hold(page)
        return held

    def _take(self, arrival: _Arrival, now: float) -> None:
        """One piece a step, so that others are not kept waiting."""
        lookup = arrival.lookup
        finished = lookup.finished.is_set()  # before looking at the pieces, or the last one could be overlooked
        fits = self._put(arrival, lookup.pieces.popleft()) if lookup.pieces else True
        late = not finished and now >= lookup.deadline
        if late or not fits or (finished and not lookup.pieces):
            self._finish(arrival)

    def _put(self, arrival: _Arrival, piece: Piece) -> bool:
        """Into pages, and findable; False if there is no room for it."""
        self._counts.read += len(piece.blocks)
        self._counts.bytes_read += piece.data.nbytes
        if piece.group == STATE:
            if self._states:
                self._cache.snapshots.put(piece.blocks[0], self._states.put(piece.data[0]))
            return True
        group = self._cache.groups[piece.group]
        if group.allocator.available < len(piece.blocks):
            return False
        pages: list[int] = []
        for _ in piece.blocks:
            pages.append(group.allocator.allocate(pages[-1] if pages else (arrival.held[piece.group] or [None])[-1]))
        arrival.held[piece.group] += pages
        self._settle()
        group.fit_pools()
        self._planes[piece.group].put(pages, piece.data)
        for page, block in zip(pages, piece.blocks, strict=True):
            group.allocator.index(page, block)
        return True

    def _finish(self, arrival: _Arrival) -> None:
        arrival.lookup.dropped = True
        self._arrivals.remove(arrival)
        for group, pages in zip(self._cache.groups, arrival.held, strict=True):
            group.allocator.release(reversed(pages))
        row, known = arrival.row, arrival.lookup.known_blocks
        row.awaits_pages = False
        row.watch.disk_tokens += max(0, self._cache.match(row) - known) * self._cache.page_tokens

    def _note(self, row: Sequence) -> None:
        """A row has computed blocks: those that are not on disk are to be copied."""
        now, end = time.monotonic(), row.indexed_blocks
        start, noted_at = self._noted.get(row, (-1, now))
        if end <= start:
            return
        self._noted[row] = (end, now)
        if start >= 0 and end - start >= LEAST_BLOCKS:
            self._prices.note_computing((end - start) * self._cache.page_tokens, now - noted_at)
        if end < LEAST_BLOCKS or not self._writer.works or not self._prices.pays(end * self._cache.page_tokens, end * self._block_bytes):
            return
        first = start if start >= LEAST_BLOCKS else 0
        for key in self._keys(row.block_hashes[first:end]):
            if key not in self._counts.kept and (key[0] != STATE or self._is_kept_state(row, key[1])):
                self._queue.setdefault(key)

    def _is_kept_state(self, row: Sequence, block: bytes) -> bool:
        if block not in self._cache.snapshots:
            return False
        number = row.block_hashes.index(block) + 1
        return number % STATE_STRIDE == 0 or number <= (len(row.prompt.token_ids) - 1) // self._cache.page_tokens

    def _keys(self, hashes: list[bytes]) -> Iterator[Key]:
        groups = [*range(len(self._planes)), *([STATE] if self._states else [])]
        return ((group, block) for block in hashes for group in groups)

    def _find(self, key: Key) -> int | None:
        group, block = key
        if group == STATE:
            return 0 if block in self._cache.snapshots else None
        return self._cache.groups[group].allocator.find(block)

    def _copy(self) -> None:
        """Some of what is to be copied: all of one group."""
        began = time.monotonic()
        self._settle()
        group = next(iter(self._queue))[0]
        form = self._states.form if group == STATE and self._states else self._planes[group].form
        most = max(1, BATCH_BYTES // form.nbytes)
        keys = [key for key in islice(self._queue, most * (len(self._planes) + 1)) if key[0] == group][:most]
        for key in keys:
            del self._queue[key]
            self._counts.kept.add(key, form.nbytes)
        found = [(key, place) for key in keys if (place := self._find(key)) is not None]
        for key in set(keys).difference(key for key, _ in found):  # it was pushed out of memory already
            self._counts.kept.discard(key)
        if group == STATE:
            self._copy_states([key for key, _ in found])
        elif found:
            parts = self._planes[group].take([page for _, page in found])
            self._writer.write(form, list(zip([key for key, _ in found], parts, strict=True)))
        self._allowance_seconds -= time.monotonic() - began

    def _copy_states(self, keys: list[Key]) -> None:
        for key in keys:
            parts = self._states.take(self._cache.snapshots.get(key[1])) if self._states else None
            if self._states and parts is not None:
                self._writer.write(self._states.form, [(key, parts)])
