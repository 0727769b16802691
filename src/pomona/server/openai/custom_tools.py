"""Custom tools, whose input is free text: the model sees a function with one string, and its JSON becomes text again while it streams."""

import json
from collections.abc import Mapping
from typing import Any, cast

from pomona.core.messages import ToolDefinition

_PARAMETERS: Mapping[str, object] = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "The whole input of the tool, as it is to receive it."}},
    "required": ["input"],
    "additionalProperties": False,
}
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_HIGH, _LOW = range(0xD800, 0xDC00), range(0xDC00, 0xE000)


def custom_tool(name: str, description: str = "", syntax: str = "", grammar: str = "") -> ToolDefinition:
    """The function that stands for a custom tool. A grammar, in `syntax`, is told to the model in the description."""
    told = [description] if description else []
    if grammar:
        told.append(f"The input must fit this grammar ({syntax or 'lark'}):\n{grammar}")
    return ToolDefinition(name=name, description="\n\n".join(told), parameters=_PARAMETERS)


def custom_arguments(text: str) -> str:
    """The JSON arguments of an earlier call whose input was `text`."""
    return json.dumps({"input": text}, ensure_ascii=False)


class InputReader:
    """Reads the arguments of one call to a custom tool. What `push` and `finish` give out adds up to the input.

    Where the model wrote other arguments than it was told to, they are given out at the end: the text of a sole string, else the JSON.
    """

    def __init__(self) -> None:
        self._raw = ""
        self._at: int | None = None
        """Where in `_raw` the input goes on; None while it has not begun."""
        self._ended = False

    def push(self, arguments: str) -> str:
        """What is certain of the input after these further arguments."""
        self._raw += arguments
        if self._at is None:
            self._at = _beginning(self._raw)
        if self._at is None or self._ended:
            return ""
        text, self._at, self._ended = _decode(self._raw, self._at)
        return text

    def finish(self) -> str:
        """The rest."""
        return "" if self._at is not None else _sole_string(self._raw)


def _beginning(raw: str) -> int | None:
    """The place after the opening quote of `input`, once it is known that this is the first member."""
    rest = raw
    for part in ("{", '"input"', ":", '"'):
        rest = rest.lstrip()
        if not rest.startswith(part):
            return None
        rest = rest[len(part) :]
    return len(raw) - len(rest)


def _decode(raw: str, at: int) -> tuple[str, int, bool]:
    """The characters of the JSON string from `at` on, the place behind them, and whether the string has ended."""
    text: list[str] = []
    while at < len(raw):
        if raw[at] == '"':
            return "".join(text), at + 1, True
        if raw[at] != "\\":
            end = min((found for found in (raw.find('"', at), raw.find("\\", at)) if found >= 0), default=len(raw))
            text.append(raw[at:end])
            at = end
            continue
        character, length = _escape(raw[at : at + 12])
        if length == 0:
            break
        text.append(character)
        at += length
    return "".join(text), at, False


def _escape(raw: str) -> tuple[str, int]:
    """The character that an escape at the beginning of `raw` stands for, and the escape's length: 0 while it is not complete."""
    if len(raw) < 2:
        return "", 0
    if raw[1] != "u":
        return _ESCAPES.get(raw[1], raw[1]), 2
    first = _code(raw[2:6])
    if first is None or first not in _HIGH:
        return ("", 0) if first is None else ("\ufffd" if first in _LOW else chr(first), 6)
    if len(raw) < 12 and "\\u".startswith(raw[6:8]):
        return "", 0
    second = _code(raw[8:12]) if raw[6:8] == "\\u" else None
    if second is None or second not in _LOW:
        return "\ufffd", 6
    return chr(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)), 12


def _code(digits: str) -> int | None:
    try:
        return int(digits, 16) if len(digits) == 4 else None
    except ValueError:
        return 0xFFFD


def _sole_string(raw: str) -> str:
    try:
        found = json.loads(raw)
    except ValueError:
        return raw
    values = list(cast("dict[str, Any]", found).values()) if isinstance(found, dict) else []
    return values[0] if len(values) == 1 and isinstance(values[0], str) else raw
