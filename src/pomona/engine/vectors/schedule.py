"""Which texts share the next pass."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pomona.engine.protocol import TextInput

WINDOW = 4096
"""So many waiting texts are looked at for a pass."""


@dataclass(slots=True, kw_only=True, eq=False)
class Request:
    """The texts of one request. `left` are the indexes of those that no pass has taken, `results` what passes made, by index."""

    id: str
    texts: Sequence[TextInput]
    left: deque[int] = field(default_factory=deque[int])
    results: list[np.ndarray[tuple[int], np.dtype[np.float32]] | None] = field(
        default_factory=list[np.ndarray[tuple[int], np.dtype[np.float32]] | None]
    )
    missing: int = 0

    def length(self, index: int) -> int:
        """Tokens of one text."""
        return len(self.texts[index].token_ids)


@dataclass(frozen=True, slots=True)
class Place:
    """A text of a request."""

    request: Request
    index: int
    tokens: int


class Schedule:
    """Requests take turns: each pass begins with a text of the next one, and is filled up with the texts of all that are nearest to it
    in length, so that little of a pass is padding and a long request holds nobody up.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._requests: deque[Request] = deque()

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, request: Request) -> None:
        """Queue a request; it has at least one text."""
        self._requests.append(request)

    def remove(self, request: Request) -> None:
        """Forget what is left of a request."""
        if request in self._requests:
            self._requests.remove(request)

    def take(self) -> list[Place]:
        """The texts of the next pass: as many as fit into the budget, counted as if all were as long as the longest; at least one."""
        first = self._requests[0]
        seed = Place(first, first.left[0], first.length(first.left[0]))
        waiting = sorted(self._window(), key=lambda place: place.tokens)
        chosen = _nearest(waiting, next(at for at, place in enumerate(waiting) if _same(place, seed)), self._budget)
        taken = {(place.request.id, place.index) for place in chosen}
        for request in {id(place.request): place.request for place in chosen}.values():
            request.left = deque(index for index in request.left if (request.id, index) not in taken)
        self._requests.rotate(-1)
        self._requests = deque(request for request in self._requests if request.left)
        return chosen

    def _window(self) -> list[Place]:
        """Waiting texts, some of every request where there are more than enough."""
        share = max(1, WINDOW // len(self._requests))
        return [Place(each, index, each.length(index)) for each in self._requests for index in list(each.left)[:share]]


def _nearest(ordered: Sequence[Place], at: int, budget: int) -> list[Place]:
    """`ordered[at]` and its neighbours on both sides, nearer ones first, while all of them fit."""
    low, high = at, at + 1
    while True:
        count, longest = high - low + 1, ordered[high - 1].tokens
        below = ordered[at].tokens - ordered[low - 1].tokens if low > 0 and count * longest <= budget else None
        above = ordered[high].tokens - ordered[at].tokens if high < len(ordered) and count * ordered[high].tokens <= budget else None
        if below is None and above is None:
            return list(ordered[low:high])
        if above is None or (below is not None and below <= above):
            low -= 1
        else:
            high += 1


def _same(place: Place, other: Place) -> bool:
    return place.request is other.request and place.index == other.index
