"""Parsers written as one generator that reads an answer from left to right and pauses where the text has not come yet."""

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from pomona.core.messages import ToolDefinition
from pomona.text.tools.calls import Calls
from pomona.text.tools.dialect import Piece
from pomona.text.tools.json_calls import JsonCall
from pomona.text.tools.marks import Unread

T = TypeVar("T")
Steps = Generator[None, None, T]
"""Pauses by yielding, and returns a T in the end."""


class MalformedCall(Exception):
    """What looked like a call cannot be one."""


class NoCall(Exception):
    """The text mentions a mark and means no call by it: nothing to warn of."""


class CutCall(Exception):
    """The answer ended where more of a call had to come."""


class Reader:
    """The text that a walk has not read yet, and what it has read since `begin`."""

    def __init__(self) -> None:
        self.ended = False
        self._unread = Unread()
        self._read: list[str] = []

    @property
    def read(self) -> str:
        """Read since `begin`, and not given out: what becomes text if the call fails."""
        return "".join(self._read)

    @property
    def rest(self) -> str:
        """What is there and not read yet."""
        return self._unread.text

    def add(self, text: str) -> None:
        """More text."""
        self._unread.add(text)

    def begin(self, read: str = "") -> None:
        """From here on `read` counts."""
        self._read = [read]

    def back_to_begin(self, kept: int = 0) -> None:
        """Read all but the first `kept` characters since `begin` once more."""
        read = self.read
        self._unread.text = read[kept:] + self._unread.text
        self.begin(read[:kept])

    def take(self, length: int) -> str:
        """Read this many characters, which are there."""
        taken = self._unread.take(length)
        self._read.append(taken)
        return taken

    def put_back(self, text: str) -> None:
        """Read `text`, the last that was read, once more."""
        self._unread.text = text + self._unread.text
        self.begin(self.read.removesuffix(text))

    def until(self, marks: Sequence[str]) -> tuple[str, str | None]:
        """Read to the first of `marks` and over it; without one, all that cannot be the beginning of one."""
        rest = self.rest
        if not any(mark[0] in rest for mark in marks):
            return self.take(len(rest)), None
        text, mark = self._unread.until(marks, final=self.ended)
        self._read.append(text + (mark or ""))
        return text, mark

    def more(self) -> Steps[None]:
        """Wait for more text. Raises CutCall where none comes."""
        if self.ended:
            raise CutCall
        yield

    def peek(self, length: int = 1) -> Steps[str]:
        """The next characters, fewer only at the end of the answer."""
        while len(self.rest) < length and not self.ended:
            yield
        return self.rest[:length]

    def next(self) -> Steps[str]:
        """Read one character."""
        while not self.rest:
            yield from self.more()
        return self.take(1)

    def space(self) -> Steps[None]:
        """Read white space, as far as it goes."""
        while True:
            self.take(len(self.rest) - len(self.rest.lstrip()))
            if self.rest or self.ended:
                return
            yield

    def follows(self, marks: Sequence[str]) -> Steps[str | None]:
        """Read that of `marks` which comes next; None where none does."""
        while True:
            found = next((mark for mark in marks if self.rest.startswith(mark)), None)
            if found is not None:
                return self.take(len(found))
            if self.ended or not any(mark.startswith(self.rest) for mark in marks):
                return None
            yield

    def expect(self, *marks: str) -> Steps[str]:
        """Read that of `marks` which must come next. Raises MalformedCall where none does, CutCall where none can come any more."""
        mark = yield from self.follows(marks)
        if mark is None:
            raise CutCall if self.ended and any(other.startswith(self.rest) for other in marks) else MalformedCall
        return mark

    def word(self, *ends: str) -> Steps[tuple[str, str]]:
        """Read to the first of `ends` and over it: what is before, and the end."""
        read = ""
        while True:
            text, mark = self.until(ends)
            read += text
            if mark is not None:
                return read, mark
            yield from self.more()


class WalkingParser:
    """A CallParser around a walk."""

    def __init__(self, tools: Sequence[ToolDefinition], walk: Callable[[Reader, Calls], Steps[None]]) -> None:
        self._calls = Calls(tools)
        self._reader = Reader()
        self._steps = walk(self._reader, self._calls)
        self.warnings = self._calls.warnings

    def push(self, text: str) -> list[Piece]:
        """As CallParser.push."""
        self._reader.add(text)
        next(self._steps, None)
        return self._calls.take()

    def finish(self) -> list[Piece]:
        """As CallParser.finish."""
        self._reader.ended = True
        next(self._steps, None)
        self._calls.finish()
        return self._calls.take()


def walk_marks(reader: Reader, calls: Calls, marks: Sequence[str], read_call: Callable[[str], Steps[None]]) -> Steps[None]:
    """Text up to a mark, which `read_call` gets and reads on from; and so on to the end. A call that fails becomes text."""
    while True:
        text, mark = reader.until(marks)
        calls.text(text)
        reader.begin()
        if mark is not None:
            yield from walk_call(reader, calls, mark, read_call(mark))
        elif reader.ended:
            return
        else:
            yield


def walk_call(reader: Reader, calls: Calls, mark: str, steps: Steps[None]) -> Steps[None]:
    """What `steps` reads after `mark`. Where that is no call, only its first character is sure to be text: the rest is read again."""
    reader.begin(mark)
    try:
        yield from steps
    except NoCall:
        reader.back_to_begin(1)
        calls.text(reader.read)
    except MalformedCall:
        reader.back_to_begin(0 if calls.open else 1)
        calls.malformed(reader.read)
    except CutCall:
        calls.cut(reader.read + reader.take(len(reader.rest)))


def start_call(reader: Reader, calls: Calls, name: str) -> bool:
    """Begin a call of the tool `name`. False where there is no such tool: what was read has become text."""
    started = calls.start(name, reader.read)
    reader.begin()
    return started


def json_call(reader: Reader, calls: Calls) -> Steps[bool]:
    """Read a call that is one JSON object, with what was read since `begin` before it. False where it failed or was cut; both are told."""
    call = JsonCall(calls, reader.read)
    while True:
        rest = call.push(reader.take(len(reader.rest)))
        reader.put_back(rest)
        reader.begin()
        if call.done or call.failed:
            return call.done
        if reader.ended:
            call.cut()
            return False
        yield
