"""One row's sources of guesses, and how often each has been right."""

from dataclasses import dataclass, field

from pomona.engine.sequence import Sequence
from pomona.engine.speculation.lookup import Lookup
from pomona.engine.speculation.odds import DRAFT, RowOdds, SharedOdds, kind_of


@dataclass(slots=True, frozen=True)
class Offer:
    """Guesses that a row could have: how they come about, and how likely each is right. Those of a draft model are still to be made."""

    kind: int
    chances: list[float]
    tokens: list[int]


@dataclass(slots=True)
class _Prediction:
    """What should stand from `start` on."""

    kind: int
    start: int
    tokens: list[int]


@dataclass(slots=True)
class RowSources:
    """Of one row. Whether a prediction was right shows when its tokens are known, whether or not it was used."""

    row: Sequence
    odds: RowOdds
    lookup: Lookup
    _predictions: list[_Prediction] = field(default_factory=list[_Prediction])

    @classmethod
    def of(cls, row: Sequence, shared: SharedOdds) -> "RowSources":
        """Of a row that nothing is known of."""
        return cls(row, RowOdds(shared), Lookup(row.tokens))

    def room(self, most: int) -> int:
        """Guesses that could become tokens: the pass that checks them adds one itself."""
        return max(0, min(most, self.row.prompt.max_tokens - self.row.outputs - self.row.pending - 1))

    def look_up(self, most: int) -> Offer | None:
        """What followed the last time. Tokens in flight are predicted too, and their chances counted."""
        if not self.lookup.update():
            return None
        self.learn()
        match, ahead, room = self.lookup.match(), self.row.pending, self.room(most)
        if match is None or not room:
            return None
        kind = kind_of(match.length)
        tokens = self.lookup.continuation(match, ahead + room)
        self._predictions.append(_Prediction(kind, len(self.row.tokens), tokens))
        return Offer(kind, self._chances(kind, room), tokens[ahead:])

    def draft(self, most: int) -> Offer | None:
        """What a draft model could be asked for."""
        self.learn()
        room = self.room(most)
        return Offer(DRAFT, self._chances(DRAFT, room), []) if room else None

    def drafted(self, tokens: list[int]) -> None:
        """The draft model's guesses."""
        self._predictions.append(_Prediction(DRAFT, len(self.row.tokens), tokens))

    def learn(self) -> None:
        """Compare what was predicted with the tokens that are known by now."""
        open_ones: list[_Prediction] = []
        for prediction in self._predictions:
            if prediction.start >= len(self.row.tokens):
                open_ones.append(prediction)
                continue
            for guess, token in zip(prediction.tokens, self.row.tokens[prediction.start :], strict=False):
                self.odds.learn(prediction.kind, guess == token)
                if guess != token:
                    break
        self._predictions = open_ones

    def _chances(self, kind: int, room: int) -> list[float]:
        chance, ahead = self.odds.chance(kind), self.row.pending
        return [chance ** (ahead + place) for place in range(1, room + 1)]
