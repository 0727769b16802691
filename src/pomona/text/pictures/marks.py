"""Marks that stand for pictures in texts, so that whatever is done to a text of a conversation is done to its pictures."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pomona.core.messages import Message, PreparedPicture, TextPart

_BEGIN, _ZERO, _BASE, _DIGITS = "\ufdd0", 0xFDD2, 16, 4
"""A mark is `_BEGIN` and a number in four digits. All are characters that Unicode keeps for use within a program."""
_OWN = re.compile("[\ufdd0-\ufdef]")
MARK = re.compile(f"{_BEGIN}([\ufdd2-\ufde1]{{{_DIGITS}}})")


def with_marks(messages: Sequence[Message]) -> tuple[tuple[Message, ...], tuple[PreparedPicture, ...]]:
    """`messages` with marks for pictures, numbered in order, and the pictures."""
    pictures: list[PreparedPicture] = []
    return tuple(_with_marks(message, pictures) for message in messages), tuple(pictures)


def mark_of(number: int) -> str:
    """The mark of picture `number`."""
    digits = (number // _BASE**place % _BASE for place in reversed(range(_DIGITS)))
    return _BEGIN + "".join(chr(_ZERO + digit) for digit in digits)


def marks_in(text: str) -> list[int]:
    """The numbers of the pictures in `text`, in the order of their places."""
    return [_number(match[1]) for match in MARK.finditer(text)]


def split_marks(text: str) -> Iterator[tuple[str, bool]]:
    """`text` in pieces, with whether each is a mark; no piece is empty."""
    position = 0
    for match in MARK.finditer(text):
        if match.start() > position:
            yield text[position : match.start()], False
        yield match[0], True
        position = match.end()
    if position < len(text):
        yield text[position:], False


def _with_marks(message: Message, pictures: list[PreparedPicture]) -> Message:
    if all(isinstance(part, TextPart) and _OWN.search(part.text) is None for part in message.content):
        return message
    text = ""
    for part in message.content:
        if isinstance(part, PreparedPicture):
            text += mark_of(len(pictures))
            pictures.append(part)
        elif isinstance(part, TextPart):
            text += _OWN.sub("\ufffd", part.text)
    return replace(message, content=(TextPart(text=text),))


def _number(digits: str) -> int:
    number = 0
    for digit in digits:
        number = number * _BASE + ord(digit) - _ZERO
    return number
