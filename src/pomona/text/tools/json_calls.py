"""A call written as one JSON object, read as it comes: `{"name": "f", "arguments": {...}}`, keys in any order and of any name."""

import json
from collections.abc import Callable, Sequence
from typing import Literal, cast

from pomona.text.tools.calls import Calls
from pomona.text.tools.json_reader import JsonReader, Token

NAME_KEYS = ("name", "tool_name", "function", "function_name", "tool")
ARGUMENT_KEYS = ("arguments", "parameters", "args", "input")


class JsonArguments:
    """The arguments of a call as one JSON object, given out as they come: `give` takes their JSON text.

    A JSON string that holds an object counts as that object, `null` as an empty one.
    """

    def __init__(self, give: Callable[[str], None]) -> None:
        self._reader = JsonReader()
        self._value = _Arguments(give)

    @property
    def done(self) -> bool:
        """They are complete."""
        return self._value.complete

    @property
    def failed(self) -> bool:
        """They are no JSON object."""
        return self._reader.failed or self._value.failed

    @property
    def held(self) -> str:
        """Read, but not given out yet."""
        return self._reader.held

    def push(self, text: str) -> str:
        """Read on; the text that is not part of them."""
        for token in self._reader.push(text):
            if token.kind != "space" or token.depth:
                self._value.add(token)
            if self._value.failed:
                break
        return text[self._reader.position :]


class JsonCall:
    """One call that begins at the next `{`. `before` is what the call back as text must begin with: the dialect's mark.

    `keyed`: its one key is the name. `unsure`: it may be no call at all, which then takes no warning. Ends `done`, with the call
    finished in `calls`, or `failed`, with what was not given out as a call given back as text.
    """

    def __init__(
        self,
        calls: Calls,
        before: str = "",
        *,
        names: Sequence[str] = NAME_KEYS,
        arguments: Sequence[str] = ARGUMENT_KEYS,
        keyed: bool = False,
        unsure: bool = False,
    ) -> None:
        self.done = False
        self.failed = False
        self._calls = calls
        self._raw = before
        self._reader = JsonReader()
        self._name_keys, self._argument_keys = names, arguments
        self._keyed, self._unsure = keyed, unsure
        self._role: Literal["key", "name", "arguments", "other"] = "key"
        self._text = ""
        self._name: str | None = None
        self._early: list[str] = []
        self._arguments: _Arguments | None = None
        self._malformed = self._unknown = False

    def push(self, text: str) -> str:
        """Read on; the text that follows the call, or that follows what could not be read."""
        for token in self._reader.push(text):
            self._take(token)
            if self._malformed or self._unknown:
                break
        read, rest = text[: self._reader.position], text[self._reader.position :]
        if not self._calls.open and not self.done:
            self._raw += read
        if self._unknown:
            self.failed = True
            self._calls.start(self._name or "", self._raw, unsure=self._unsure and self._arguments is None)
        elif self._malformed or self._reader.failed:
            self.failed = True
            self._calls.malformed(self._reader.held if self._calls.open else self._raw, unsure=self._unsure)
        return rest

    def cut(self) -> None:
        """The answer ended within the call."""
        self._calls.cut(self._raw, unsure=self._unsure)

    def _take(self, token: Token) -> None:
        if token.depth == 0:
            self._outermost(token)
        elif token.depth == 1 and token.kind == "key":
            self._read_key(token)
        elif token.depth > 1 or token.kind == "value":
            self._read_value(token)

    def _outermost(self, token: Token) -> None:
        if token.kind == "value" and token.ends and token.text == "}":
            self._end()
        elif token.kind != "space" and token.text != "{":
            self._malformed = True

    def _read_key(self, token: Token) -> None:
        self._text += token.text
        if not token.ends:
            return
        key, self._text, self._role = _text_of(self._text), "", "other"
        if self._keyed and self._name is None:
            self._begin_call(key)
        if (key in self._argument_keys or self._keyed) and self._arguments is None:
            self._role = "arguments"
            self._arguments = _Arguments(self._give)
        elif key in self._name_keys and self._name is None:
            self._role = "name"

    def _read_value(self, token: Token) -> None:
        if self._role == "name":
            self._read_name(token)
        elif self._role == "arguments" and self._arguments is not None:
            self._arguments.add(token)
            self._malformed = self._arguments.failed

    def _read_name(self, token: Token) -> None:
        self._text += token.text
        if not token.ends or token.depth > 1:
            return
        name, self._text = _text_of(self._text), ""
        self._begin_call(name)

    def _begin_call(self, name: str | None) -> None:
        self._name = name
        if self._name is None or self._calls.name_of(self._name) is None:
            self._malformed, self._unknown = self._name is None, self._name is not None
            return
        self._calls.start(self._name, "")
        for text in self._early:
            self._calls.arguments(text)

    def _give(self, text: str) -> None:
        if self._calls.open:
            self._calls.arguments(text)
        else:
            self._early.append(text)

    def _end(self) -> None:
        if not self._calls.open:
            self._malformed = True
            return
        if self._arguments is None:
            self._calls.arguments("{}")
        self.done = True
        self._calls.end()


class _Arguments:
    """The value behind the key of the arguments, token by token."""

    def __init__(self, give: Callable[[str], None]) -> None:
        self.complete = False
        self.failed = False
        self._give = give
        self._form: Literal["", "object", "text"] = ""
        self._text = ""
        self._depth = 0

    def add(self, token: Token) -> None:
        """More of the value."""
        if not self._form:
            self._begin(token)
        elif self._form == "object":
            self._give(token.text)
            self.complete = token.ends and token.kind == "value" and token.depth == self._depth
        else:
            self._text += token.text
            if token.ends:
                self._end_text()

    def _begin(self, token: Token) -> None:
        self._depth = token.depth
        if token.text == "{":
            self._form = "object"
            self._give("{")
        elif token.text == '"':
            self._form, self._text = "text", '"'
        elif token.text == "null":
            self._give("{}")
            self.complete = True
        else:
            self.failed = True

    def _end_text(self) -> None:
        held = _text_of(self._text)
        inner = _json_of(held or "{}")
        self.failed = not isinstance(inner, dict)
        self.complete = not self.failed
        if self.complete:
            self._give(json.dumps(inner, ensure_ascii=False))


def _text_of(text: str) -> str | None:
    value = _json_of(text)
    return value if isinstance(value, str) else None


def _json_of(text: str) -> object:
    try:
        return cast("object", json.loads(text))
    except (ValueError, RecursionError):
        return None
