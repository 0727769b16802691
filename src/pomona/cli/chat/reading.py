"""Where the chat's lines come from: an editor on a terminal, plain lines elsewhere."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession


class Reader(Protocol):
    """Gives the person's messages one after another."""

    async def read(self) -> str | None:
        """The next message, lines joined; None when there are no more. Raises KeyboardInterrupt at Ctrl-C."""
        ...


class PlainReader:
    """Messages from a stream that is no terminal: one a line, `\\` at the end goes on in the next."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    async def read(self) -> str | None:
        """The next line, with those it goes on in."""
        lines: list[str] = []
        while line := await asyncio.to_thread(self._stream.readline):
            lines.append(line.rstrip("\n"))
            if not lines[-1].endswith("\\"):
                break
        return join_lines(lines) if lines else None


class TerminalReader:
    """An editor with history and completion of slash commands (prompt-toolkit)."""

    def __init__(self, history: Path, words: list[str], *, color: bool) -> None:
        self._session = _session(history, words, color=color)

    async def read(self) -> str | None:
        """What was typed until Enter."""
        try:
            return join_lines((await self._session.prompt_async("> ")).split("\n"))
        except EOFError:
            return None


def open_reader(history: Path, words: list[str], *, color: bool) -> Reader:
    """The reader that suits standard input."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        return TerminalReader(history, words, color=color)
    return PlainReader(sys.stdin)


def join_lines(lines: list[str]) -> str:
    """Lines as one message: a `\\` at the end of a line is the sign to go on, not text."""
    return "\n".join(line.removesuffix("\\") if index < len(lines) - 1 else line for index, line in enumerate(lines))


def _session(history: Path, words: list[str], *, color: bool) -> "PromptSession[str]":
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory, InMemoryHistory
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
    from prompt_toolkit.output import ColorDepth

    keys = KeyBindings()

    def next_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    def enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.current_line_before_cursor.endswith("\\"):
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    keys.add("escape", "enter")(next_line)
    keys.add("enter")(enter)
    try:
        history.parent.mkdir(parents=True, exist_ok=True)
        kept = FileHistory(str(history))
    except OSError:
        kept = InMemoryHistory()
    return PromptSession(
        history=kept,
        multiline=True,
        key_bindings=keys,
        prompt_continuation="  ",
        completer=WordCompleter(words, sentence=True),
        complete_while_typing=False,
        color_depth=None if color else ColorDepth.DEPTH_1_BIT,
    )
