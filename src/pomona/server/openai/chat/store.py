"""Chat completions that their clients asked to be kept, in memory, until they are deleted or crowded out."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pomona.core.errors import NotFound

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One answer, and the messages that it answers. `size_bytes` is about what it takes in memory."""

    id: str
    account: str
    model: str
    document: Json
    messages: Sequence[Json]
    size_bytes: int
    metadata: Mapping[str, str]


class ChatStore:
    """Keeps answers of up to `max_bytes` together, the oldest go first, and none longer than `ttl_seconds`. Each caller finds its own."""

    def __init__(self, *, max_bytes: int, ttl_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], tuple[float, Kept]] = OrderedDict()
        self._bytes = 0

    def keep(self, kept: Kept) -> None:
        """Keep an answer, unless it alone is larger than the store."""
        if kept.size_bytes > self._max_bytes:
            return
        self._kept[kept.account, kept.id] = (self._clock() + self._ttl_seconds, kept)
        self._bytes += kept.size_bytes
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def all(self, account: str) -> list[Kept]:
        """The caller's answers, oldest first."""
        self._forget_old()
        return [kept for _, kept in self._kept.values() if kept.account == account]

    def find(self, account: str, answer_id: str) -> Kept:
        """One answer. Raises NotFound."""
        self._forget_old()
        found = self._kept.get((account, answer_id))
        if found is None:
            raise NotFound(
                f"No chat completion {answer_id!r} is kept. Only those made with store: true are, until newer ones take their place.",
                param="completion_id",
            )
        return found[1]

    def relabel(self, account: str, answer_id: str, metadata: Mapping[str, str]) -> Kept:
        """The answer with other metadata. Raises NotFound."""
        old = self.find(account, answer_id)
        new = replace(old, metadata=metadata, document={**old.document, "metadata": metadata})
        self._kept[account, answer_id] = (self._kept[account, answer_id][0], new)
        return new

    def drop(self, account: str, answer_id: str) -> None:
        """Forget an answer. Raises NotFound."""
        self.find(account, answer_id)
        self._drop((account, answer_id))

    def _forget_old(self) -> None:
        now = self._clock()
        while self._kept and next(iter(self._kept.values()))[0] <= now:
            self._drop(next(iter(self._kept)))

    def _drop(self, place: tuple[str, str]) -> None:
        _, kept = self._kept.pop(place)
        self._bytes -= kept.size_bytes
