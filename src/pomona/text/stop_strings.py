"""Finds stop strings in a text that comes in pieces, in time linear in the text, whatever the pieces are."""

import re
from collections.abc import Sequence


class StopStrings:
    """The first stop string to be complete ends the text; of several that end at once, the longest.

    So the result does not depend on how the text was cut. Only the longest end of the text that may still become a stop
    string is held back.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._matchers = [_Matcher(stop) for stop in stops]
        self._held = ""
        self._beginning = re.compile("|".join({re.escape(stop[0]) for stop in stops})) if stops else None

    def push(self, text: str) -> tuple[str, str | None]:
        """The text that may be shown now, and the stop string that ended it, if one did."""
        if self._beginning is None or (not self._held and self._beginning.search(text) is None):
            return text, None
        found: _Matcher | None = None
        end = len(text)
        for matcher in self._matchers:
            here = matcher.advance(text, end)
            if here is not None and (found is None or here < end or len(matcher.stop) > len(found.stop)):
                found, end = matcher, here
        whole = self._held + text
        if found is not None:
            return whole[: len(self._held) + end - len(found.stop)], found.stop
        shown = len(whole) - max(matcher.matched for matcher in self._matchers)
        self._held = whole[shown:]
        return whole[:shown], None

    def flush(self) -> str:
        """What was held back, once no more text comes."""
        held, self._held = self._held, ""
        return held


class _Matcher:
    """One stop string (Knuth, Morris and Pratt 1977). `matched` is the length of the longest end of the text that begins it."""

    def __init__(self, stop: str) -> None:
        self.stop = stop
        self.matched = 0
        self._borders = _borders(stop)

    def advance(self, text: str, limit: int) -> int | None:
        """Read `text` up to `limit`; the index behind the first match, None if there is none."""
        index = 0
        while index < limit:
            if self.matched == 0:
                index = text.find(self.stop[0], index, limit)
                if index < 0:
                    return None
            elif text[index] != self.stop[self.matched]:
                self.matched = self._borders[self.matched - 1]
                continue
            self.matched += 1
            index += 1
            if self.matched == len(self.stop):
                return index
        return None


def _borders(stop: str) -> list[int]:
    """For each beginning of `stop`, the length of its longest proper end that is also its beginning."""
    borders = [0] * len(stop)
    length = 0
    for index in range(1, len(stop)):
        while length and stop[index] != stop[length]:
            length = borders[length - 1]
        length += stop[index] == stop[length]
        borders[index] = length
    return borders
