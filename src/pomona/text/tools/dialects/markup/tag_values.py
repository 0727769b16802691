"""The value between two tags: text without quotes, or JSON. The types of the parameter decide which, then what it looks like."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from pomona.text.tools.literals import PYTHON, literal, quoted, scalar
from pomona.text.tools.schema_types import TYPES, type_of
from pomona.text.tools.walking import CutCall, MalformedCall, Reader, Steps

NOTHING = ("null", "None")
PARTS = {"{": "object", "[": "array"}
Out = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """How a value ends and what it may be."""

    end: str
    pad: str
    follows: tuple[str, ...]
    """Tags of which one comes after `end`: an end that is followed by something else is part of the value."""
    types: frozenset[str]


def written_as(written: str, types: frozenset[str]) -> frozenset[str]:
    """The types that are left where the dialect itself says whether a value is `text` or `json`."""
    if written == "text":
        return frozenset({"string"})
    return (types - {"string"} or TYPES - {"string"}) if written == "json" else types


def read_value(reader: Reader, value: Value, out: Out) -> Steps[bool]:
    """Read a value and its end; `out` takes it as JSON as it comes. False where it is of no type that it may have."""
    if value.pad:
        yield from reader.follows((value.pad,))
    if value.types <= {"string", "null"}:
        yield from _stream_text(reader, value, out)
        return True
    first = yield from reader.peek()
    if PARTS.get(first, "") in value.types and "string" not in value.types:
        yield from literal(reader, out, PYTHON)
        yield from reader.space()
        yield from reader.expect(value.end)
        return True
    text = yield from _whole_text(reader, value)
    written = _as_json(text, value.types)
    out(f'"{quoted(text)}"' if written is None else written)
    return written is not None or "string" in value.types


def _stream_text(reader: Reader, value: Value, out: Out) -> Steps[None]:
    """Text as it comes; held back only while it may still be the word for nothing, where that is allowed."""
    held: str | None = "" if "null" in value.types else None
    if held is None:
        out('"')
    while True:
        text, ended = yield from _some_text(reader, value)
        if held is not None:
            held += text
            if ended and held in NOTHING:
                out("null")
                return
            if not ended and any(word.startswith(held) for word in NOTHING):
                continue
            text, held = held, None
            out('"')
        if text:
            out(quoted(text))
        if ended:
            out('"')
            return


def _whole_text(reader: Reader, value: Value) -> Steps[str]:
    whole = ""
    while True:
        text, ended = yield from _some_text(reader, value)
        whole += text
        if ended:
            return whole


def _some_text(reader: Reader, value: Value) -> Steps[tuple[str, bool]]:
    """More of the value, and whether it ended. The last pad and an end tag wait until it is certain what they are."""
    endings = (value.pad + value.end, value.end) if value.pad else (value.end,)
    text, end = reader.until(endings)
    if end is not None:
        if (yield from _really_ends(reader, value)):
            return text, True
        return text + end, False
    if not text:
        yield from reader.more()
    return text, False


def _really_ends(reader: Reader, value: Value) -> Steps[bool]:
    while True:
        after = reader.rest.lstrip()
        if any(after.startswith(tag) for tag in value.follows):
            return True
        if not any(tag.startswith(after) for tag in value.follows):
            return False
        if reader.ended:
            raise CutCall
        yield


def _as_json(text: str, types: frozenset[str]) -> str | None:
    """What is no string as JSON; None where it is a string, or can be nothing else."""
    trimmed = text.strip()
    written = _scalar(trimmed) if trimmed[:1] not in PARTS else _part(trimmed)
    if written is None:
        return None
    kind = type_of(json.loads(written))
    fits = kind in types or (kind == "integer" and "number" in types) or (kind == "number" and "integer" in types and _whole(written))
    return written if fits else None


def _scalar(text: str) -> str | None:
    try:
        return scalar(text)
    except MalformedCall:
        return None


def _part(text: str) -> str | None:
    """An object or a list, in JSON or in Python's notation."""
    reader, written = Reader(), list[str]()
    reader.add(text)
    reader.ended = True
    try:
        for _ in literal(reader, written.append, PYTHON):
            pass
    except (MalformedCall, CutCall):
        return None
    return "".join(written) if not reader.rest else None


def _whole(written: str) -> bool:
    return float(written).is_integer()
