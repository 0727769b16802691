"""Reads calls of any form in JSON: objects with name and arguments, alone or in a list, or a name followed by its arguments."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pomona.core.messages import ToolDefinition
from pomona.text.tools.calls import Calls
from pomona.text.tools.dialect import Piece
from pomona.text.tools.json_calls import ARGUMENT_KEYS, NAME_KEYS, JsonArguments, JsonCall
from pomona.text.tools.marks import Unread, find_mark

LONGEST_NAME = 256
"""Characters between the mark of a call and the mark behind its name, after which it is no call."""
SEPARATORS = ";,"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The marks of a form."""

    opens: tuple[str, ...]
    """Each begins a call or a list of calls."""
    closes: tuple[str, ...] = ()
    """May follow a call or a list."""
    skips: tuple[str, ...] = ()
    """Marks around all calls, or around the text, that say nothing by themselves."""
    name_ends: tuple[str, ...] = ()
    """Marks between a name and its arguments. Without any, calls are objects."""
    drops_before: tuple[str, ...] = ()
    """Marks before a name: what stands between the mark of the call and them is no part of the name."""
    drops_after: tuple[str, ...] = ()
    """Marks behind a name: what stands between them and the arguments is no part of the name."""
    bare: bool = False
    """A `{` at the beginning of the answer begins a call."""
    keyed: bool = False
    """A call is an object with one key, the name."""
    unsure: tuple[str, ...] = ()
    """Those of `opens` that begin other things too, so that it takes no warning where no call follows."""
    names: tuple[str, ...] = NAME_KEYS
    arguments: tuple[str, ...] = ARGUMENT_KEYS

    @property
    def marks(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.opens, *self.closes, *self.skips, *self.name_ends, *self.drops_before, *self.drops_after)


class FormParser:
    """A CallParser. Each state is a method that returns whether it could go on; what it cannot decide yet stays in `_unread`."""

    def __init__(self, tools: Sequence[ToolDefinition], reading: Reading) -> None:
        self._calls = Calls(tools)
        self.warnings = self._calls.warnings
        self._reading = reading
        self._unread = Unread()
        self._state: Callable[[bool], bool] = self._bare if reading.bare else self._text
        self._raw = ""
        self._unsure = False
        self._in_list = False
        self._name: str | None = None
        self._call: JsonCall | None = None
        self._arguments: JsonArguments | None = None

    def push(self, text: str) -> list[Piece]:
        """More of the answer."""
        self._unread.add(text)
        while self._state(False):
            pass
        return self._calls.take()

    def finish(self) -> list[Piece]:
        """The rest of it."""
        while self._state(True):
            pass
        if self._state == self._object and self._call is not None:
            self._call.cut()
        elif self._state == self._in_arguments:
            self._calls.cut("")
        elif self._state in (self._begin, self._name_follows):
            self._calls.cut(self._raw + self._unread.text)
        self._calls.finish()
        return self._calls.take()

    def _bare(self, final: bool) -> bool:
        """At the beginning of the answer."""
        space = self._unread.skip_space()
        self._calls.text(space)
        if not self._unread.text:
            return False
        self._state, self._raw, self._unsure = self._text, "", True
        if self._unread.text[0] == "{":
            self._begin_object()
        return True

    def _text(self, final: bool) -> bool:
        reading = self._reading
        before, mark = self._unread.until((*reading.opens, *reading.skips), final=final)
        self._calls.text(before)
        if mark is None:
            return False
        if mark not in reading.skips:
            self._state, self._raw, self._unsure, self._in_list, self._name = self._begin, mark, mark in reading.unsure, False, None
        return True

    def _begin(self, final: bool) -> bool:
        """Behind the mark of a call, or within a list where the next call begins."""
        self._raw += self._unread.skip_space()
        if not self._unread.text:
            return False
        character = self._unread.text[0]
        if character == "{" and (self._in_list or not self._reading.name_ends):
            self._begin_object()
        elif character == "[" and not self._in_list:
            self._raw += self._unread.take(1)
            self._in_list = True
        elif character == "]" and self._in_list:
            self._state = self._behind
        elif self._reading.name_ends and not self._in_list:
            self._state = self._name_follows
        else:
            self._give_up()
        return True

    def _begin_object(self) -> None:
        reading = self._reading
        self._call = JsonCall(
            self._calls, self._raw, names=reading.names, arguments=reading.arguments, keyed=reading.keyed, unsure=self._unsure
        )
        self._state = self._object

    def _object(self, final: bool) -> bool:
        if self._call is None or not self._unread.text:
            return False
        self._unread.text = self._call.push(self._unread.text)
        if self._call.done:
            self._state = self._behind
        elif self._call.failed:
            self._state = self._text
        return self._state != self._object

    def _behind(self, final: bool) -> bool:
        """Behind a call."""
        space = self._unread.skip_space()
        if not self._unread.text:
            return False
        character = self._unread.text[0]
        if self._in_list and character == ",":
            self._raw = space + self._unread.take(1)
            self._state = self._begin
        elif self._in_list and character == "]":
            self._unread.take(1)
            self._in_list = False
        elif not self._in_list and self._reading.bare and character in SEPARATORS:
            return self._behind_separator(final)
        else:
            return self._close(final)
        return True

    def _behind_separator(self, final: bool) -> bool:
        """Calls in a row without marks: another one only if an object follows the separator."""
        rest = self._unread.text[1:].lstrip()
        if not rest and not final:
            return False
        self._state, self._raw, self._unsure = self._text, self._unread.text[0], False
        if rest.startswith("{"):
            self._unread.text = rest
            self._begin_object()
        return True

    def _close(self, final: bool) -> bool:
        """Take the marks behind a call, as many as there are."""
        for mark in self._reading.closes:
            starts = self._unread.starts(mark)
            if starts is None and not final:
                return False
            if starts:
                self._unread.take(len(mark))
                return True
        self._state = self._text
        return True

    def _name_follows(self, final: bool) -> bool:
        reading = self._reading
        marks = (*reading.name_ends, *reading.drops_before, *reading.drops_after)
        before, mark = find_mark(self._unread.text, marks, final=final)
        if len(before) > LONGEST_NAME:
            self._give_up()
            return True
        if mark is None:
            return False
        self._raw += self._unread.take(len(before) + len(mark))
        if mark in reading.drops_after:
            self._name = before
        elif mark in reading.name_ends:
            self._begin_arguments(before if self._name is None else self._name)
        return True

    def _begin_arguments(self, name: str) -> None:
        if self._calls.start(name, self._raw):
            self._arguments = JsonArguments(self._calls.arguments)
            self._state = self._in_arguments
        else:
            self._state = self._text

    def _in_arguments(self, final: bool) -> bool:
        if self._arguments is None or not self._unread.text:
            return False
        self._unread.text = self._arguments.push(self._unread.text)
        if self._arguments.failed:
            self._calls.malformed(self._arguments.held)
            self._state = self._text
        elif self._arguments.done:
            self._calls.end()
            self._state = self._behind
        return self._state != self._in_arguments

    def _give_up(self) -> None:
        self._calls.malformed(self._raw, unsure=self._unsure)
        self._state = self._text
