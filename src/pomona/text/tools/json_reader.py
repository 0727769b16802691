"""Reads one JSON value as it comes, strictly enough that what was given out so far can always still become JSON.

It mends what models get wrong and what has only one meaning: raw control characters in strings, needless escapes, a comma before a
closing bracket, Python's True, False and None.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["key", "value", "space", "mark"]
"""`mark`: a colon or a comma. Brackets are part of the value that they enclose."""
SPACE = re.compile(r"[ \t\r\n]+")
PLAIN = re.compile(r'[^"\\\x00-\x1f]+')
SCALAR = re.compile(r"[-+.0-9A-Za-z]+")
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
LITERALS = {"true": "true", "false": "false", "null": "null", "True": "true", "False": "false", "None": "null"}
CONTROLS = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
HEX = frozenset("0123456789abcdefABCDEF")
LONGEST_SCALAR = 512
CLOSES = {"{": "}", "[": "]"}


@dataclass(frozen=True, slots=True)
class Token:
    """A run of mended JSON text. `depth` counts the brackets around it; a bracket of its own does not count."""

    kind: Kind
    text: str
    depth: int
    ends: bool = False
    """It completes a key or a value."""


class JsonReader:
    """One JSON value. `position` is where the text of the last `push` was left, by its end, by the end of the value or by an error."""

    def __init__(self) -> None:
        self.done = False
        self.failed = False
        self.position = 0
        self._stack: list[str] = []
        self._expects: Literal["value", "first", "key", "colon", "next"] = "value"
        self._comma = ""
        self._string: Literal["key", "value", ""] = ""
        self._held = ""
        """The beginning of an escape within a string, or of a number or literal outside of one."""

    @property
    def depth(self) -> int:
        """Brackets that are open."""
        return len(self._stack)

    @property
    def held(self) -> str:
        """Read, but not given out yet."""
        return self._comma + self._held

    def push(self, text: str) -> Iterator[Token]:
        """The tokens of `text`. Stops at the end of the value and at the first character that cannot be right."""
        self.position = 0
        while self.position < len(text) and not self.done and not self.failed:
            yield from self._in_string(text) if self._string else self._between(text)

    def finish(self) -> Iterator[Token]:
        """No more text comes: a number or literal on its own is complete now."""
        if self._held and not self._string and not self._stack:
            yield from self._scalar_ends()

    def _in_string(self, text: str) -> Iterator[Token]:
        kind, depth = self._string or "value", self.depth
        if self._held:
            mended = self._escape(text[self.position])
            if mended:
                yield Token(kind, mended, depth)
            return
        plain = PLAIN.match(text, self.position)
        if plain:
            self.position = plain.end()
            yield Token(kind, plain.group(), depth)
            return
        character = text[self.position]
        self.position += 1
        if character == "\\":
            self._held = character
        elif character == '"':
            self._string = ""
            self._value_ended() if kind == "value" else self._expect("colon")
            yield Token(kind, '"', depth, ends=True)
        else:
            yield Token(kind, CONTROLS.get(character, f"\\u{ord(character):04x}"), depth)

    def _escape(self, character: str) -> str:
        """One more character of an escape; the escape once it is complete."""
        held = self._held + character
        if len(held) > 2 and character not in HEX:
            self.failed = True
            return ""
        self.position += 1
        if held[1] == "u" and len(held) < 6:
            self._held = held
            return ""
        self._held = ""
        if held[1] == "'":
            return "'"
        if held[1] in '"\\/bfnrtu':
            return held
        return "\\\\" + CONTROLS.get(character, character if character >= " " else f"\\u{ord(character):04x}")

    def _between(self, text: str) -> Iterator[Token]:
        scalar = SCALAR.match(text, self.position) if self._held or self._expects in ("value", "first") else None
        if scalar:
            self._held += scalar.group()
            self.position = scalar.end()
            self.failed = len(self._held) > LONGEST_SCALAR or (self._expects == "first" and self._stack[-1] == "{")
            return
        if self._held:
            yield from self._scalar_ends()
            return
        space = SPACE.match(text, self.position)
        if space:
            self.position = space.end()
            if self._comma:
                self._comma += space.group()
            else:
                yield Token("space", space.group(), self.depth)
            return
        yield from self._structure(text[self.position])

    def _scalar_ends(self) -> Iterator[Token]:
        mended = LITERALS.get(self._held) or (self._held if NUMBER.fullmatch(self._held) else None)
        if mended is None:
            self.failed = True
            return
        self._held = ""
        yield from self._take_comma()
        self._value_ended()
        yield Token("value", mended, self.depth, ends=True)

    def _structure(self, character: str) -> Iterator[Token]:
        """Brackets, quotes, colons and commas."""
        inside = self._stack[-1] if self._stack else ""
        self.position += 1
        if character == '"' and self._expects in ("value", "first", "key"):
            yield from self._string_begins(inside)
        elif character in CLOSES and (self._expects == "value" or (self._expects == "first" and inside != "{")):
            yield from self._opens(character)
        elif inside and character == CLOSES[inside] and (self._expects in ("first", "next") or self._comma):
            yield from self._closes(character)
        elif character == ":" and self._expects == "colon":
            yield Token("mark", character, self.depth)
            self._expect("value")
        elif character == "," and self._expects == "next":
            self._comma = character
            self._expect("key" if inside == "{" else "value")
        else:
            self.position -= 1
            self.failed = True

    def _opens(self, character: str) -> Iterator[Token]:
        yield from self._take_comma()
        yield Token("value", character, self.depth)
        self._stack.append(character)
        self._expect("first")

    def _closes(self, character: str) -> Iterator[Token]:
        self._comma = ""
        self._stack.pop()
        self._value_ended()
        yield Token("value", character, self.depth, ends=True)

    def _string_begins(self, inside: str) -> Iterator[Token]:
        is_key = inside == "{" and self._expects in ("first", "key")
        yield from self._take_comma()
        self._string = "key" if is_key else "value"
        yield Token(self._string, '"', self.depth)

    def _take_comma(self) -> Iterator[Token]:
        """A comma, and the space behind it, is given out only with what follows: before a closing bracket it is a mistake."""
        if self._comma:
            comma, self._comma = self._comma, ""
            yield Token("mark", comma, self.depth)

    def _value_ended(self) -> None:
        self._expect("next")
        self.done = not self._stack

    def _expect(self, what: Literal["value", "first", "key", "colon", "next"]) -> None:
        self._expects = what
