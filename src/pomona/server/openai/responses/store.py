"""Responses that are kept, so that they can be asked for again and continued."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResponse:
    """A response as JSON. `input` is the list of all items that it was made from, `output` that of the items it consists of."""

    id: str
    caller: str
    session: str
    document: bytes
    input: bytes
    output: bytes
    item_ids: tuple[str, ...] = ()
    """The ids of input and output: an item can be found by them."""
    events: tuple[bytes, ...] | None = None
    """The server-sent events of a response made in the background, in order; None for any other."""

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory."""
        return len(self.document) + len(self.input) + len(self.output) + sum(map(len, self.events or ()))


class ResponseStore(Protocol):
    """Keeps responses for as long as it can. Each caller finds only its own."""

    def keep(self, response: StoredResponse) -> None:
        """Keep `response`, in place of what had its id. Older ones may go for it."""
        ...

    def find(self, caller: str, key: str) -> StoredResponse | None:
        """The response of that id, or the newest that has an item of that id."""
        ...

    def drop(self, caller: str, response_id: str) -> bool:
        """Forget a response; False where there is none."""
        ...


class MemoryStore:
    """A ResponseStore in memory: the least recently used go first. `clock` is in seconds and only rises."""

    def __init__(self, *, max_bytes: int, ttl_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], tuple[float, StoredResponse]] = OrderedDict()
        self._by_item: dict[tuple[str, str], str] = {}
        self._bytes = 0

    def keep(self, response: StoredResponse) -> None:
        """Keep `response`, unless it alone is larger than the store."""
        self.drop(response.caller, response.id)
        if response.size_bytes > self._max_bytes:
            return
        self._kept[response.caller, response.id] = (self._clock() + self._ttl_seconds, response)
        self._by_item |= {(response.caller, item): response.id for item in response.item_ids}
        self._bytes += response.size_bytes
        while self._bytes > self._max_bytes:
            self.drop(*next(iter(self._kept)))

    def find(self, caller: str, key: str) -> StoredResponse | None:
        """The response of that id or with that item, which is now the most recently used one."""
        place = (caller, self._by_item.get((caller, key), key))
        ends, response = self._kept.get(place, (0.0, None))
        if response is None:
            return None
        if self._clock() >= ends:
            self.drop(*place)
            return None
        self._kept.move_to_end(place)
        return response

    def drop(self, caller: str, response_id: str) -> bool:
        """Forget a response and its items."""
        _, response = self._kept.pop((caller, response_id), (0.0, None))
        if response is None:
            return False
        self._bytes -= response.size_bytes
        for item in response.item_ids:
            if self._by_item.get((caller, item)) == response_id:
                del self._by_item[caller, item]
        return True
