"""Tells thoughts from the answer while both come."""

from collections.abc import Callable

from pomona.core.generation import ReasoningDelta, TextDelta
from pomona.text.reasoning.marks import ThoughtMarks
from pomona.text.tools.marks import find_mark

Part = TextDelta | ReasoningDelta


class ThoughtSplitter:
    """For one answer. White space around marks belongs to neither side.

    `opened`: the prompt has begun the thought. `again`: a mark within the answer begins another thought; else it is text, since an
    answer may speak of `<think>`. `also_ends` are marks that end a thought too and are read on as answer: a call within a thought.
    """

    def __init__(self, marks: ThoughtMarks, *, opened: bool, again: bool = False, also_ends: tuple[str, ...] = ()) -> None:
        self._marks = marks
        self._again = again
        self._ends = (marks.close, *also_ends)
        self._unread = ""
        self._space = ""
        self._parts: list[Part] = []
        self._wrapped = False
        self._state: Callable[[bool], bool] = self._thought_begins if opened else self._start

    @property
    def thinking(self) -> bool:
        """What comes next belongs to a thought."""
        return self._state in (self._thought_begins, self._thought)

    def push(self, text: str) -> list[Part]:
        """What is certain now."""
        self._unread += text
        return self._read(final=False)

    def finish(self) -> list[Part]:
        """The rest."""
        return self._read(final=True)

    def _read(self, *, final: bool) -> list[Part]:
        while self._state(final):
            pass
        parts, self._parts = self._parts, []
        return parts

    def _start(self, final: bool) -> bool:
        """Nothing but white space so far."""
        begun = self._unread.lstrip()
        for mark, state in ((self._marks.open.strip(), self._thought_begins), (self._marks.close, self._behind)):
            if begun.startswith(mark):
                self._unread, self._state = begun[len(mark) :], state
                return True
            if mark.startswith(begun) and not final:
                return False
        self._state = self._answer
        return True

    def _thought_begins(self, final: bool) -> bool:
        """Some models repeat the mark that the prompt ends with."""
        begun, mark = self._unread.lstrip(), self._marks.open.strip()
        if mark.startswith(begun) and not final:
            return False
        self._unread = begun.removeprefix(mark).lstrip() if begun.startswith(mark) else begun
        self._state = self._thought
        return True

    def _thought(self, final: bool) -> bool:
        text, mark = find_mark(self._unread, self._ends, final=final)
        self._unread = self._unread[len(text) :]
        self._think(text)
        if mark is None:
            return False
        if mark == self._marks.close:
            self._unread = self._unread[len(mark) :]
        self._space, self._state = "", self._behind
        return True

    def _think(self, text: str) -> None:
        whole = self._space + text
        shown = whole.rstrip()
        self._space = whole[len(shown) :]
        if shown:
            self._parts.append(ReasoningDelta(text=shown))

    def _behind(self, final: bool) -> bool:
        """Behind a thought."""
        self._unread = self._unread.lstrip()
        begin = self._marks.wrap[0] if self._marks.wrap else ""
        if not self._unread or (begin.startswith(self._unread) and not final):
            return False
        self._wrapped = self._marks.wrap is not None
        if begin and self._unread.startswith(begin):
            self._unread = self._unread[len(begin) :]
            return True
        self._state = self._answer
        return True

    def _answer(self, final: bool) -> bool:
        end = self._marks.wrap[1] if self._wrapped and self._marks.wrap else ""
        sought = tuple(mark for mark in (end, self._marks.open if self._again else "") if mark)
        text, mark = find_mark(self._unread, sought, final=final) if sought else (self._unread, None)
        self._unread = self._unread[len(text) + len(mark or "") :]
        if text:
            self._parts.append(TextDelta(text=text))
        if mark is not None and mark != end:
            self._state = self._thought_begins
        return mark is not None
