"""Finds marks such as `<tool_call>` in a text that comes in pieces."""

import re
from collections.abc import Sequence
from functools import lru_cache


class Unread:
    """What a parser has not read yet. Each look at it costs time linear in the text that it takes, whatever the pieces are."""

    def __init__(self) -> None:
        self.text = ""

    def add(self, text: str) -> None:
        """More text."""
        self.text += text

    def until(self, marks: Sequence[str], *, final: bool = False) -> tuple[str, str | None]:
        """Take the text before the first of `marks`, and that mark; without one, all text that cannot be the beginning of one.

        Where one mark begins another, the longer counts. `final`: no more text comes, so nothing is held back.
        """
        before, mark = find_mark(self.text, tuple(marks), final=final)
        self.text = self.text[len(before) + len(mark or "") :]
        return before, mark

    def skip_space(self) -> str:
        """Take white space, as far as it goes."""
        rest = self.text.lstrip()
        space = self.text[: len(self.text) - len(rest)]
        self.text = rest
        return space

    def starts(self, mark: str) -> bool | None:
        """Whether the text begins with `mark`; None while it is too short to say."""
        if self.text.startswith(mark):
            return True
        return None if mark.startswith(self.text) else False

    def take(self, length: int) -> str:
        """Take this many characters."""
        taken, self.text = self.text[:length], self.text[length:]
        return taken


def find_mark(text: str, marks: tuple[str, ...], *, final: bool = False) -> tuple[str, str | None]:
    """As `Unread.until`, of a text that is all there."""
    found = _pattern(marks).search(text) if marks else None
    certain = len(text) if final else len(text) - _held(text, marks)
    if found is None or found.start() > certain:
        return text[:certain], None
    start, mark = found.start(), found.group()
    # At the end of the text, `start == certain` may be the beginning of a longer mark than the one found.
    if start == certain and start + len(mark) <= len(text) and _begins_mark(text[start:], tuple(each for each in marks if each != mark)):
        return text[:start], None
    return text[:start], mark


@lru_cache(maxsize=256)
def _pattern(marks: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(mark) for mark in sorted(marks, key=len, reverse=True)))


def _held(text: str, marks: tuple[str, ...]) -> int:
    """Length of the longest end of `text` that begins a mark."""
    longest = min(len(text), max((len(mark) for mark in marks), default=1) - 1)
    return next((length for length in range(longest, 0, -1) if _begins_mark(text[-length:], marks)), 0)


def _begins_mark(text: str, marks: tuple[str, ...]) -> bool:
    return any(mark.startswith(text) for mark in marks)
