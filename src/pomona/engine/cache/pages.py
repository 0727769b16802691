"""Which KV page belongs to whom: reference counts, reuse by content, eviction. Page numbers only, no arrays.

A page holds the keys and values of `page_tokens` consecutive tokens. It is in exactly one state:
free (content worthless), held (one or more sequences refer to it), or idle (nobody refers to it, but its content is indexed by
the hash of all tokens up to its end, so that a later prompt can take it back). Page 0 is never handed out: padding reads and
writes go there.
"""

import heapq
from collections import OrderedDict
from collections.abc import Iterable


class PageAllocator:
    """Pages of one group of layers. Grows up to `limit` pages; the caller grows the arrays to `capacity` when asked to."""

    def __init__(self, limit: int, initial: int = 64) -> None:
        self.limit = max(2, limit)
        self.capacity = 1
        self._free: list[int] = []  # heap: low numbers first keeps a row's pages consecutive
        self._free_set: set[int] = set()
        self._holders: list[int] = [0]
        self._idle: OrderedDict[int, int] = OrderedDict()  # page -> tick of last use, oldest first
        self._page_of: dict[bytes, int] = {}
        self._hash_of: dict[int, bytes] = {}
        self._tick = 0
        self._grow(min(initial, self.limit))

    @property
    def held(self) -> int:
        """Pages that sequences refer to."""
        return self.capacity - 1 - len(self._free_set) - len(self._idle)

    @property
    def idle(self) -> int:
        """Pages kept only for reuse."""
        return len(self._idle)

    @property
    def available(self) -> int:
        """Pages that `allocate` could hand out, evicting idle ones and growing where needed."""
        return len(self._free_set) + len(self._idle) + self.limit - self.capacity

    def allocate(self, after: int | None = None) -> int:
        """A page with one holder; the one behind `after` if it is free. Raises IndexError when none is available."""
        if not self._free_set and self.capacity < self.limit:
            self._grow(min(self.limit, 2 * self.capacity))
        if not self._free_set:
            self._evict()
        page = after + 1 if after is not None and after + 1 in self._free_set else self._pop_free()
        self._free_set.discard(page)
        self._holders[page] = 1
        return page

    def find(self, block_hash: bytes) -> int | None:
        """The page with that content, if it is still there."""
        return self._page_of.get(block_hash)

    def hold(self, page: int) -> None:
        """One more sequence refers to `page`."""
        self._idle.pop(page, None)
        self._holders[page] += 1

    def release(self, pages: Iterable[int]) -> None:
        """One sequence lets go of `pages`. Indexed ones become idle, the others free."""
        self._tick += 1
        for page in pages:
            self._holders[page] -= 1
            if self._holders[page]:
                continue
            if page in self._hash_of:
                self._idle[page] = self._tick
            else:
                self._push_free(page)

    def index(self, page: int, block_hash: bytes) -> None:
        """Make the content of a held page findable. The first page of equal content wins."""
        if block_hash not in self._page_of and page not in self._hash_of:
            self._page_of[block_hash] = page
            self._hash_of[page] = block_hash

    def shrink(self) -> None:
        """Forget what nobody refers to, and let go of the pages behind the last one that somebody does."""
        while self._idle:
            self._evict()
        last = max((page for page in range(1, self.capacity) if self._holders[page]), default=0)
        self.capacity = last + 1
        del self._holders[self.capacity :]
        self._free_set = {page for page in self._free_set if page <= last}
        self._free = sorted(self._free_set)

    def check_integrity(self, references: dict[int, int]) -> None:
        """Raise AssertionError unless counts equal `references` (page -> number of referring sequences)."""
        free, idle = self._free_set, set(self._idle)
        held = {page for page in range(1, self.capacity) if self._holders[page]}
        _require(not free & idle and not free & held and not idle & held, "a page is in two states")
        _require(len(free) + len(idle) + len(held) == self.capacity - 1, "a page is in no state")
        _require({page: self._holders[page] for page in held} == references, "reference counts differ from the sequences' tables")
        _require(all(page in self._hash_of for page in idle), "an idle page is not indexed")
        _require({page: block for block, page in self._page_of.items()} == self._hash_of, "the index is not one to one")

    def _grow(self, capacity: int) -> None:
        for page in range(self.capacity, capacity):
            self._holders.append(0)
            self._push_free(page)
        self.capacity = capacity

    def _evict(self) -> None:
        page, _ = self._idle.popitem(last=False)
        del self._page_of[self._hash_of.pop(page)]
        self._push_free(page)

    def _push_free(self, page: int) -> None:
        self._free_set.add(page)
        heapq.heappush(self._free, page)

    def _pop_free(self) -> int:
        while self._free:
            page = heapq.heappop(self._free)
            if page in self._free_set:  # else it was handed out as somebody's next page
                return page
        raise IndexError("no KV page is available")


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise AssertionError(f"KV pages: {problem}")
