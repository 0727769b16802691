"""Rows that run, and room for them: places, pages, and who gives them up.

A row gives way in one of two ways. Put back, it loses its pages, keeps its tokens, and is computed again (mostly out of the prefix
cache) when there is room. Parked, it keeps its pages as long as nobody needs them, and goes on where it stood. Both wait like new rows
do, ahead of those of their caller.
"""

from bisect import insort
from collections import Counter
from collections.abc import Callable
from itertools import count

from pomona.core.telemetry import get_logger
from pomona.engine.cache.model_cache import ModelCache
from pomona.engine.scheduling.targets import RANK
from pomona.engine.scheduling.waiting import WaitingRows
from pomona.engine.sequence import Sequence

MOST_PARKINGS = 4
"""A row that was parked so often stays."""

log = get_logger(__name__)


class Places:
    """The running rows of one engine, in order, and the waiting ones."""

    def __init__(self, cache: ModelCache, waiting: WaitingRows, *, most: int, clock: Callable[[], float]) -> None:
        self._cache = cache
        self._most = most
        self._clock = clock
        self._counter = count(1)
        self.waiting = waiting
        self.running: list[Sequence] = []
        self.preemptions = 0
        self.parkings = 0
        self.parked = 0

    @property
    def full(self) -> bool:
        """No further row may run."""
        return len(self.running) >= self._most

    def start(self, row: Sequence, blocks: int) -> bool:
        """Let a waiting row run, with `blocks` blocks out of the cache; False, and nothing changed, where its prompt finds no pages."""
        parked = row.turn.parked
        if not parked:
            self._cache.adopt(row, blocks)
        if not (self._leaves_pages(row) and self._cache.reserve(row, len(row.tokens), windows=False)):
            if not parked:
                self._cache.release(row)
            return False
        self.waiting.remove(row)
        self.parked -= parked
        row.turn.parked = False
        if not row.turn.place:
            row.turn.place, row.turn.charged_to = next(self._counter), row.computed
        if not row.made and not parked:
            row.cached_tokens = min(row.computed, len(row.prompt.token_ids))
        insort(self.running, row, key=_order)
        self.waiting.note_start(row)
        return True

    def fits(self, row: Sequence) -> bool:
        """A waiting row without pages could have all that it needs without anybody losing any."""
        return self._cache.available - -(-len(row.tokens) // self._cache.page_tokens) >= len(self.running)

    def make_room(self, row: Sequence, tokens: int) -> bool:
        """Pages for `tokens` tokens of `row`, putting back rows behind it if it must; False if `row` was put back itself."""
        while not self._cache.reserve(row, tokens, windows=True):
            if self.put_back_idle():
                continue
            victim = self.running[-1]
            self._put_back(victim)
            if victim is row:
                return False
        return True

    def put_back_idle(self, spare: Sequence | None = None) -> bool:
        """A slow reader and a parked row may keep their pages only while nobody else needs them; but not those of `spare`."""
        paused = next((row for row in reversed(self.running) if row.paused), None)
        if paused is not None:
            self._put_back(paused)
            return True
        parked = [row for row in self.waiting if row.turn.parked and row is not spare] if self.parked else []
        if parked:
            self._release_parked(max(parked, key=_order))
        return bool(parked)

    def put_back_paused(self) -> bool:
        """Nor may a slow reader keep its place."""
        paused = next((row for row in reversed(self.running) if row.paused), None)
        if paused is not None:
            self._put_back(paused)
        return paused is not None

    def park(self, row: Sequence) -> None:
        """Stop a running row for the sake of others."""
        log.debug("row_parked", row=row.id, priority=row.prompt.priority, running=len(self.running))
        self.running.remove(row)
        row.turn.parked, row.turn.parked_at = True, self._clock()
        row.turn.parkings += 1
        self.parkings += 1
        self.parked += 1
        self.waiting.add(row)

    def lowest_below(self, rank: int) -> Sequence | None:
        """The running row to park for a class: of the lowest class below it, the last in order."""
        rows = [row for row in self.running if RANK[row.prompt.priority] > rank and _may_be_parked(row)]
        return max(rows, key=lambda row: (RANK[row.prompt.priority], row.order), default=None)

    def richest(self, row: Sequence, level: Callable[[str], float]) -> Sequence | None:
        """The running row to park for another caller's `row` of the same class: the last one of the caller that has most places, if these
        are at least two more than the row's caller has, and it has had more than that.
        """
        peers = [peer for peer in self.running if peer.prompt.priority == row.prompt.priority]
        places = Counter(peer.prompt.caller for peer in peers)
        own = places[row.prompt.caller]
        rich = {caller for caller, held in places.items() if held >= own + 2 and level(caller) > level(row.prompt.caller)}
        rows = [peer for peer in peers if peer.prompt.caller in rich and _may_be_parked(peer)]
        return max(rows, key=lambda peer: (places[peer.prompt.caller], peer.order), default=None)

    def remove(self, row: Sequence) -> None:
        """Forget a row and free what it holds."""
        if row in self.running:
            self.running.remove(row)
        else:
            self.waiting.remove(row)
            self.parked -= row.turn.parked
        self._cache.release(row)

    def _leaves_pages(self, row: Sequence) -> bool:
        """One page for each running row, or it would be put back at once."""
        return self._cache.available - self._cache.missing(row, len(row.tokens)) >= len(self.running)

    def _put_back(self, row: Sequence) -> None:
        log.debug("row_put_back", row=row.id, priority=row.prompt.priority, running=len(self.running))
        self.running.remove(row)
        self._lose_pages(row)
        self.waiting.add(row)

    def _release_parked(self, row: Sequence) -> None:
        row.turn.parked = False
        self.parked -= 1
        self._lose_pages(row)

    def _lose_pages(self, row: Sequence) -> None:
        self._cache.release(row)
        row.lost_pages = True
        self.preemptions += 1


def _may_be_parked(row: Sequence) -> bool:
    return row.turn.parkings < MOST_PARKINGS and not row.paused


def _order(row: Sequence) -> tuple[int, int]:
    return row.order
