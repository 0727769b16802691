"""How much of the engine each caller has had: a counter for each, as in VTC (Sheng et al., arXiv 2401.00588).

The caller with the lowest counter goes first. Who comes back after a rest begins where the least served of the others stands, so that
nobody saves up for later, and nobody who was served much is forgiven by leaving for a moment.
"""

OUTPUT_WEIGHT = 2.0
"""What a token of an answer counts, where one of a prompt that was computed counts 1; as in VTC. Tokens out of the cache are free."""
MOST_REMEMBERED = 4096
"""Callers without rows that are kept in mind because they had more than others."""


class Shares:
    """Counters of callers, in tokens of work."""

    def __init__(self) -> None:
        self._levels: dict[str, float] = {}
        self._rows: dict[str, int] = {}
        self._floor = 0.0

    def enter(self, caller: str) -> None:
        """One more row of the caller is unfinished."""
        if caller not in self._rows:
            self._raise_floor()
            self._levels[caller] = max(self._levels.get(caller, 0.0), self._floor)
        self._rows[caller] = self._rows.get(caller, 0) + 1

    def leave(self, caller: str) -> bool:
        """A row of the caller has ended; whether it has no other."""
        self._raise_floor()
        self._rows[caller] -= 1
        if self._rows[caller]:
            return False
        del self._rows[caller]
        self._floor = self._floor if self._rows else self._levels[caller]
        self._forget()
        return True

    def charge(self, caller: str, work: float) -> None:
        """The caller has had `work` tokens."""
        self._levels[caller] += work

    def level(self, caller: str) -> float:
        """What the caller has had."""
        return self._levels.get(caller, self._floor)

    def _raise_floor(self) -> None:
        if self._rows:
            self._floor = max(self._floor, min(self._levels[caller] for caller in self._rows))

    def _forget(self) -> None:
        """Callers at rest who would begin at the floor anyway; where too many are left, those who had the least."""
        resting = {caller: level for caller, level in self._levels.items() if caller not in self._rows}
        gone = [caller for caller, level in resting.items() if level <= self._floor]
        if len(resting) - len(gone) > MOST_REMEMBERED:
            gone = sorted(resting, key=resting.__getitem__)[:-MOST_REMEMBERED]
        for caller in gone:
            del self._levels[caller]
