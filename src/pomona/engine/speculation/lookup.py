"""Prompt lookup: what followed the last time when the text went as it goes now.

Positions with the same pair of tokens are chained, as in LZ77. So a token costs one look-up in a table, and a match costs a short walk,
however long the text is.
"""

from array import array
from dataclasses import dataclass

CANDIDATES = 16
"""Earlier places that are compared; the latest first."""
LONGEST = 8
"""Tokens. Longer matches count as this long."""
TOKENS_AT_ONCE = 4096
"""That are taken into the index in one step: about 2 ms."""
_NOWHERE = -1


@dataclass(slots=True, frozen=True)
class Match:
    """The end of the text occurred before: its last `length` tokens stand before `position` too."""

    position: int
    length: int


class Lookup:
    """Index of one row's `tokens`, a list that only grows."""

    def __init__(self, tokens: list[int]) -> None:
        self._tokens = tokens
        self._last: dict[int, int] = {}
        self._last_pair: dict[int, int] = {}
        self._before = array("i")  # by position: the one before it with the same pair of tokens
        self._same_token = _NOWHERE  # the place before the last position where its token stands

    def update(self) -> bool:
        """Take in tokens that were added; False while there are more of them than one step should take."""
        tokens, start = self._tokens, len(self._before)
        end = min(len(tokens), start + TOKENS_AT_ONCE)
        for place in range(start, end):
            token = tokens[place]
            pair = (tokens[place - 1] << 32 | token) if place else _NOWHERE
            self._before.append(self._last_pair.get(pair, _NOWHERE))
            self._last_pair[pair] = place
            self._same_token = self._last.get(token, _NOWHERE)
            self._last[token] = place
        return end == len(tokens)

    def match(self) -> Match | None:
        """The longest match of the end of the text, among equals the latest. Only after `update` has taken in everything."""
        tokens, end = self._tokens, len(self._before) - 1
        best = Match(self._same_token + 1, 1) if self._same_token != _NOWHERE else None
        place = self._before[end] if end > 0 else _NOWHERE
        for _ in range(CANDIDATES):
            if place == _NOWHERE:
                break
            length = 2
            while length < LONGEST and place >= length and tokens[place - length] == tokens[end - length]:
                length += 1
            if best is None or length > best.length:
                best = Match(place + 1, length)
            if length == LONGEST:
                break
            place = self._before[place]
        return best

    def continuation(self, match: Match, count: int) -> list[int]:
        """The `count` tokens that should follow; where the match runs into the end of the text, it goes round."""
        period = len(self._before) - match.position
        return [self._tokens[match.position + index % period] for index in range(count)]
