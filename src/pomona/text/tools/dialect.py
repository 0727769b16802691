"""What a dialect is: the way in which one family of models writes tool calls into its text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pomona.core.generation import ReasoningDelta, TextDelta, ToolCallDelta, ToolCallFinished, ToolCallStarted
from pomona.core.messages import ToolCall, ToolDefinition

Piece = TextDelta | ReasoningDelta | ToolCallStarted | ToolCallDelta | ToolCallFinished


class CallParser(Protocol):
    """Reads one answer as it comes. Whatever the pieces of text are, the pieces that come out add up to the same."""

    warnings: list[str]
    """What could not be read as a call and was given back as text."""

    def push(self, text: str) -> list[Piece]:
        """What is certain now. Text that may still become a call is held back."""
        ...

    def finish(self) -> list[Piece]:
        """The rest, once no more text comes. A call that was not complete comes back as text, unless part of it has been given out."""
        ...


class Marks(Protocol):
    """How a tokenizer spells the marks of a dialect, for grammars."""

    def __call__(self, text: str) -> str:
        """`text` as a Lark item: `<[8188]>` where it is one special token, a quoted string where it is ordinary text."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A grammar for calls that the model is free to make. `mark` begins every call; `rules` describe what follows it.

    Used only where `mark` is one token: the engine then switches the grammar on when it sees the mark.
    """

    mark: str
    rules: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One dialect. `recognises` sees the source of a chat template. The list in `tools.catalog` is tried in order."""

    name: str
    recognises: Callable[[str], bool]
    parser: Callable[[Sequence[ToolDefinition]], CallParser]
    """A parser for one answer to a request with these tools."""
    calls: Callable[[Sequence[ToolDefinition], Marks, bool], str]
    """Lark rules whose `start` is one call, or several where the flag says so, with arguments that fit the tools' schemas."""
    trigger: Callable[[Sequence[ToolDefinition], Marks, bool], Trigger] | None = None
    visible: tuple[str, ...] = ()
    """Special tokens whose text the parser must see. All others have no text, as ever."""
    stops: tuple[str, ...] = ()
    """Special tokens that end an answer because a call is complete, where the model's own end-of-text tokens do not."""
    reads_thoughts: bool = False
    """The parser splits thoughts from the answer too (harmony's channels), so it reads every answer, with or without tools."""
    bare: bool = False
    """A call is an object at the very beginning of the answer, without any mark."""
    written: Callable[[Sequence[ToolCall]], str] | None = None
    """Calls as the model writes them, for templates that show tools but leave out the calls of earlier turns."""
