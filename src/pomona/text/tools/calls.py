"""What every dialect's parser does with what it has read: text and calls, in order, numbered, with ids and known names."""

import uuid
from collections.abc import Sequence

from pomona.core.generation import ReasoningDelta, TextDelta, ToolCallDelta, ToolCallFinished, ToolCallStarted
from pomona.core.messages import ToolDefinition
from pomona.text.tools.dialect import Piece

ID_DIGITS = 24
NAMESPACES = ("functions.", "function.", "tools.", "tool.")


class Calls:
    """Collects the pieces of one answer. White space next to a call belongs to the dialect, so it is left out; other text is kept.

    `take` hands out what is certain. White space is held back until something other than a call follows it.
    """

    def __init__(self, tools: Sequence[ToolDefinition]) -> None:
        self.warnings: list[str] = []
        self.made = 0
        """Calls that were begun."""
        self._names = {tool.name for tool in tools}
        self._pieces: list[Piece] = []
        self._space = ""
        self._after_call = False
        self._open = False

    @property
    def open(self) -> bool:
        """A call was begun and not ended yet."""
        return self._open

    def take(self) -> list[Piece]:
        """The pieces since the last time."""
        taken, self._pieces = self._pieces, []
        return taken

    def text(self, text: str) -> None:
        """Text of the answer."""
        if self._after_call:
            text = text.lstrip()
        if not text:
            return
        self._after_call = False
        whole = self._space + text
        shown = whole.rstrip()
        self._space = whole[len(shown) :]
        self._add_text(shown)

    def thought(self, text: str) -> None:
        """Text of a thought, for dialects that read thoughts too."""
        if text:
            self._pieces.append(ReasoningDelta(text=text))

    def name_of(self, written: str) -> str | None:
        """The tool that a name as the model wrote it means; None if there is none."""
        trimmed = written.strip().strip("\"'`")
        candidates = (written, trimmed, *(trimmed.removeprefix(space) for space in NAMESPACES))
        return next((name for name in candidates if name in self._names), None)

    def start(self, written: str, raw: str, *, unsure: bool = False) -> bool:
        """Begin a call of the tool `written`. Where there is no such tool, False; `raw`, all of the call so far, then becomes text.

        `unsure`, here and below: it may never have been meant as a call, so there is no warning.
        """
        name = self.name_of(written)
        if name is None:
            self.give_back(raw, f"The model called {written!r}, which is not one of the tools; the call is in the text.", unsure)
            return False
        self._space, self._open, self._after_call = "", True, True
        self._pieces.append(ToolCallStarted(index=self.made, id=f"call_{uuid.uuid4().hex[:ID_DIGITS]}", name=name))
        self.made += 1
        return True

    def arguments(self, text: str) -> None:
        """More of the arguments of the open call, as JSON text."""
        if text:
            self._pieces.append(ToolCallDelta(index=self.made - 1, arguments=text))

    def end(self) -> None:
        """The open call is complete."""
        self._pieces.append(ToolCallFinished(index=self.made - 1))
        self._open = False

    def give_back(self, raw: str, warning: str, unsure: bool = False) -> None:
        """What looked like a call becomes text, white space and all."""
        if not unsure:
            self.warnings.append(warning)
        self._add_text(self._space + raw)
        self._space, self._after_call, self._open = "", False, False

    def malformed(self, raw: str, *, unsure: bool = False) -> None:
        """`raw` cannot be read as a call: it becomes text. A call that was begun already is never finished."""
        if self._open:
            self.give_back("", "The arguments of a tool call are no valid JSON; the call is not complete.")
            self._after_call = True
            self.text(raw)
        else:
            self.give_back(raw, "The model wrote a tool call that cannot be read; it is in the text.", unsure)

    def cut(self, raw: str, *, unsure: bool = False) -> None:
        """The answer ended within a call. Without its name it becomes text."""
        if self._open:
            self.warnings.append("The answer ended within a tool call, which is not complete.")
        else:
            self.give_back(raw, "The answer ended within a tool call; what there is of it is in the text.", unsure)

    def finish(self) -> None:
        """No more comes."""
        self._add_text(self._space)
        self._space = ""

    def _add_text(self, text: str) -> None:
        if text:
            self._pieces.append(TextDelta(text=text))
