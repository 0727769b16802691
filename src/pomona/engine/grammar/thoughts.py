"""How long a row may think."""

from collections import deque
from copy import deepcopy

from pomona.core.generation import ReasoningLimit


class ThoughtLimit:
    """Counts one row's known tokens of thought, and says when its end is to be forced. A thought opened again goes on counting."""

    def __init__(self, limit: ReasoningLimit) -> None:
        self._limit = limit
        self._thinking = not limit.open_ids
        self._spent = 0
        self._forced = 0
        self._recent: deque[int] = deque(maxlen=max(1, len(limit.open_ids), len(limit.close_ids)))

    @property
    def due(self) -> int | None:
        """The token that must come next, if one must."""
        exhausted = self._thinking and self._spent >= self._limit.budget_tokens
        if not self._limit.forced_ids or not (self._forced or exhausted):
            return None
        return self._limit.forced_ids[self._forced]

    def near(self, pending: int) -> bool:
        """A token could be due behind `pending` tokens that are not known yet: they must be read first."""
        may_think = self._thinking or bool(self._limit.open_ids and pending)
        soon = bool(self._forced) or (may_think and self._spent + pending >= self._limit.budget_tokens)
        return soon and bool(self._limit.forced_ids)

    def copy(self) -> "ThoughtLimit":
        """The same count, to go on from by itself."""
        return deepcopy(self, {id(self._limit): self._limit})

    def advance(self, token: int) -> None:
        """The next token is known."""
        if token == self.due:
            self._force()
            return
        self._recent.append(token)
        if self._thinking:
            self._spent += 1
            self._thinking = not self._ends_with(self._limit.close_ids)
        else:
            self._thinking = self._ends_with(self._limit.open_ids)

    def _force(self) -> None:
        self._forced += 1
        if self._forced == len(self._limit.forced_ids):
            self._forced, self._thinking = 0, False
            self._recent.clear()

    def _ends_with(self, ids: tuple[int, ...]) -> bool:
        return bool(ids) and tuple(self._recent)[-len(ids) :] == ids
