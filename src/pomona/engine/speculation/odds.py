"""How often guesses have been right: of one row, and of all rows before it."""

from dataclasses import dataclass, field

MEMORY = 0.93
"""What an observation still counts after the next one: about the last 14 matter."""
ROW_PRIOR = 3.0
"""Observations that the other rows' experience counts as."""
SHARED_WEIGHT = 0.02
DRAFT = 0
"""Guesses of a draft model; those of lookup are told apart by the length of their match, 1 to `LONGEST_KIND`."""
LONGEST_KIND = 4
PRIORS = (0.6, 0.1, 0.35, 0.5, 0.7)
"""By kind, before anything was seen."""


def kind_of(length: int) -> int:
    """Of a match of so many tokens."""
    return min(length, LONGEST_KIND)


@dataclass(slots=True)
class SharedOdds:
    """Chances that a guess is right, by kind, over all rows."""

    chances: list[float] = field(default_factory=lambda: list(PRIORS))

    def learn(self, kind: int, hit: bool) -> None:
        """One guess turned out right or wrong."""
        self.chances[kind] += SHARED_WEIGHT * (hit - self.chances[kind])


@dataclass(slots=True)
class RowOdds:
    """Chances of one row."""

    shared: SharedOdds
    _hits: list[float] = field(default_factory=lambda: [0.0] * len(PRIORS))
    _seen: list[float] = field(default_factory=lambda: [0.0] * len(PRIORS))

    def learn(self, kind: int, hit: bool) -> None:
        """One guess turned out right or wrong."""
        self._hits[kind] = MEMORY * self._hits[kind] + hit
        self._seen[kind] = MEMORY * self._seen[kind] + 1
        self.shared.learn(kind, hit)

    def chance(self, kind: int) -> float:
        """That the next guess is right, if all before it are."""
        return (ROW_PRIOR * self.shared.chances[kind] + self._hits[kind]) / (ROW_PRIOR + self._seen[kind])
