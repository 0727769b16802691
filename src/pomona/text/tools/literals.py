"""Values as models write them outside JSON (Python's literals, Gemma's objects with bare keys), turned into JSON as they come."""

import ast
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pomona.text.tools.walking import MalformedCall, Reader, Steps

Out = Callable[[str], None]
WORDS = {"True": "true", "False": "false", "None": "null", "true": "true", "false": "false", "null": "null"}
CLOSING = {"[": "]", "(": ")", "{": "}"}
DEPTH = 64
"""Lists and objects within each other; deeper ones are no calls that a tool could mean."""
JSON_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
NUMBER_LIKE = re.compile(r"[-+]?[0-9a-fA-F_.xXoO+-]+")
SIMPLE_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "a": "\a", "v": "\v", "0": "\0", "\n": ""}
CODE_LENGTHS = {"x": 2, "u": 4, "U": 8}
ENDS = ",]})=: \t\r\n"
LONGEST_SCALAR = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Notation:
    """How values are written. `quotes` open and close a string; only between those of one character has a backslash a meaning."""

    quotes: tuple[str, ...] = ('"', "'")
    bare_keys: bool = False


PYTHON = Notation()
"""Python's literals, and JSON, which is nearly one of them."""


def literal(reader: Reader, out: Out, notation: Notation = PYTHON, depth: int = 0) -> Steps[None]:
    """Read one value and hand it to `out` as JSON, bit by bit. Raises MalformedCall where it is none."""
    if depth > DEPTH:
        raise MalformedCall
    yield from reader.space()
    quote = yield from reader.follows(notation.quotes)
    if quote is not None:
        yield from _string(reader, out, quote)
        return
    first = yield from reader.peek()
    if first == "{":
        yield from _object(reader, out, notation, depth)
    elif first in ("[", "("):
        yield from _array(reader, out, notation, depth)
    else:
        out(scalar((yield from _bare(reader))))


def scalar(text: str) -> str:
    """A number, a truth value or nothing as JSON. Raises MalformedCall where it is none of them."""
    if text in WORDS:
        return WORDS[text]
    if len(text) > LONGEST_SCALAR or not NUMBER_LIKE.fullmatch(text):
        raise MalformedCall
    if JSON_NUMBER.fullmatch(text):
        return text
    try:
        value: object = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise MalformedCall from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise MalformedCall
    return json.dumps(value)


def quoted(text: str) -> str:
    """Text as it stands within a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _bare(reader: Reader) -> Steps[str]:
    """What stands without quotes, up to what can follow a value."""
    text = ""
    while True:
        character = yield from reader.peek()
        if not character or character in ENDS:
            if not character:
                yield from reader.more()
            return text
        text += reader.take(1)
        if len(text) > LONGEST_SCALAR:
            raise MalformedCall


def _array(reader: Reader, out: Out, notation: Notation, depth: int) -> Steps[None]:
    closing = CLOSING[(yield from reader.next())]
    out("[")
    empty = True
    while not (yield from _ends(reader, closing, first=empty)):
        out("" if empty else ", ")
        empty = False
        yield from literal(reader, out, notation, depth + 1)
    out("]")


def _object(reader: Reader, out: Out, notation: Notation, depth: int) -> Steps[None]:
    yield from reader.next()
    out("{")
    yield from members(reader, out, notation, "}", depth)
    out("}")


def members(reader: Reader, out: Out, notation: Notation, closing: str, depth: int = 0) -> Steps[None]:
    """Keys and values up to and over `closing`, as the inside of a JSON object."""
    empty = True
    while not (yield from _ends(reader, closing, first=empty)):
        out('"' if empty else ', "')
        empty = False
        yield from _key(reader, out, notation)
        out('": ')
        yield from literal(reader, out, notation, depth + 1)


def _key(reader: Reader, out: Out, notation: Notation) -> Steps[None]:
    yield from reader.space()
    quote = yield from reader.follows(notation.quotes)
    if quote is not None:
        yield from _characters(reader, out, quote)
        yield from reader.space()
        yield from reader.expect(":")
        return
    if notation.bare_keys:
        key, _ = yield from reader.word(":")
        out(quoted(key.strip()))
        return
    out(quoted(scalar((yield from _bare(reader)))))
    yield from reader.space()
    yield from reader.expect(":")


def _ends(reader: Reader, closing: str, *, first: bool) -> Steps[bool]:
    """Over a comma, if one is due, and over `closing`, if it follows; a comma may stand before it."""
    yield from reader.space()
    if not first and (yield from reader.expect(",", closing)) == closing:
        return True
    yield from reader.space()
    return (yield from reader.follows((closing,))) is not None


def _string(reader: Reader, out: Out, quote: str) -> Steps[None]:
    out('"')
    yield from _characters(reader, out, quote)
    out('"')


def _characters(reader: Reader, out: Out, quote: str) -> Steps[None]:
    """From behind the quotes that open a string to those that close it. Python's may be three in a row."""
    escapes = len(quote) == 1
    if escapes and (yield from reader.peek(2)) == quote * 2:
        reader.take(2)
        quote *= 3
    elif escapes and (yield from reader.follows((quote,))) is not None:
        return
    marks: Sequence[str] = (quote, "\\") if escapes else (quote,)
    while True:
        text, mark = reader.until(marks)
        out(quoted(text))
        if mark == quote:
            return
        if mark is None:
            yield from reader.more()
        else:
            out((yield from _escape(reader)))


def _escape(reader: Reader) -> Steps[str]:
    """After a backslash: what it means, as it stands in a JSON string. Python keeps a backslash that means nothing."""
    character = yield from reader.next()
    if character in "\\\"'/":
        return quoted(character)
    if character in SIMPLE_ESCAPES:
        return quoted(SIMPLE_ESCAPES[character])
    if character not in CODE_LENGTHS:
        return "\\\\" + quoted(character)
    digits = ""
    for _ in range(CODE_LENGTHS[character]):
        digits += yield from reader.next()
    return _character(digits)


def _character(digits: str) -> str:
    """Halves of a pair of surrogates stay escaped: JSON puts them together."""
    try:
        code = int(digits, 16)
        return f"\\u{code:04x}" if 0xD800 <= code < 0xE000 else quoted(chr(code))
    except (ValueError, OverflowError):
        raise MalformedCall from None
