"""Rows that wait, and which of them is next.

First the class decides: high before normal before low, but a class that waits gets at least every 33rd start. Within a class the caller
that has had the least. Of its rows those that ran before, then the shortest, with ageing: a row's key is the work that its caller had asked
for before it came, and twice its own. So whatever arrives, those that overtake it have less work than it has itself.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Container, Iterator

from pomona.core.generation import Priority
from pomona.engine.scheduling.targets import PRIORITIES, RANK
from pomona.engine.sequence import Sequence

STARTS_BETWEEN = 32
"""Starts of higher classes after which a class that waits is due."""


class WaitingRows:
    """Queues by class and caller. `level` is what a caller has had; with `fair` false all rows are in one queue by arrival."""

    def __init__(self, *, fair: bool = True) -> None:
        self._fair = fair
        self._queues: dict[Priority, dict[str, list[Sequence]]] = {priority: {} for priority in PRIORITIES}
        self._passed: dict[Priority, int] = dict.fromkeys(PRIORITIES, 0)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, row: object) -> bool:
        return any(row is other for other in self)

    def __iter__(self) -> Iterator[Sequence]:
        """By class, then caller, then in order."""
        for queues in self._queues.values():
            for rows in queues.values():
                yield from rows

    def add(self, row: Sequence) -> None:
        """A row that never ran, or was parked or put back."""
        insort(self._queues[row.prompt.priority].setdefault(self._caller(row), []), row, key=self._key)
        self._count += 1

    def remove(self, row: Sequence) -> None:
        """It starts or ends."""
        queues, caller = self._queues[row.prompt.priority], self._caller(row)
        rows = queues[caller]
        del rows[bisect_left(rows, self._key(row), key=self._key)]
        if not rows:
            del queues[caller]
        self._count -= 1

    def next(self, level: Callable[[str], float], without: Container[Sequence]) -> Sequence | None:
        """The row to start next, but none of `without`."""
        for priority in self._classes():
            heads = [row for rows in self._queues[priority].values() if (row := _first(rows, without)) is not None]
            if heads:
                return min(heads, key=lambda row: (level(row.prompt.caller) if self._fair else 0.0, row.arrival))
        return None

    def is_due(self, row: Sequence) -> bool:
        """Its class has been passed over so often that nothing may hold it back."""
        return self._passed[row.prompt.priority] >= STARTS_BETWEEN

    def note_start(self, row: Sequence) -> None:
        """A row has started."""
        rank = RANK[row.prompt.priority]
        self._passed[row.prompt.priority] = 0
        for priority in PRIORITIES[rank + 1 :]:
            queues = self._queues[priority]
            if not queues:
                self._passed[priority] = 0
            elif any(_first(rows, ()) for rows in queues.values()):
                self._passed[priority] += 1

    def _classes(self) -> list[Priority]:
        due: list[Priority] = [priority for priority in PRIORITIES if self._passed[priority] >= STARTS_BETWEEN]
        return [*reversed(due), *PRIORITIES]

    def _caller(self, row: Sequence) -> str:
        return row.prompt.caller if self._fair else ""

    def _key(self, row: Sequence) -> tuple[bool, float, int]:
        turn = row.turn
        return turn.place == 0, turn.place or (turn.key if self._fair else 0.0), row.arrival


def _first(rows: list[Sequence], without: Container[Sequence]) -> Sequence | None:
    return next((row for row in rows if row.startable and row not in without), None)
