"""From the events of a generator to the items of a response and the events that tell of them, in the one order that SDKs accept."""

from collections.abc import Sequence

from pomona.core.errors import Cancelled
from pomona.core.generation import (
    Delta,
    Finished,
    GenerateEvent,
    PromptScored,
    ReasoningDelta,
    Started,
    TextDelta,
    TokenText,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
)
from pomona.server.openai.responses.reading.call import Call
from pomona.server.openai.responses.writing.calls import CallItem, call_item
from pomona.server.openai.responses.writing.document import Document
from pomona.server.openai.responses.writing.events import EventWriter
from pomona.server.openai.responses.writing.texts import MessageText, Summary, Thought


class Composer:
    """Composes one response. Every method gives the server-sent events that are due, each on its own.

    One item is open at a time: the next one begins when what comes belongs into another. The whole response is in `document`.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._writer = EventWriter()
        self._message: MessageText | None = None
        self._thought: Thought | None = None
        self._tool: CallItem | None = None
        self._blank = ""
        self._actions = 0
        self._summary: Summary | None = None
        self.document = Document(call, "queued" if call.background else "in_progress")
        self.begun = False
        self.ended = False

    def queue(self) -> list[bytes]:
        """A response in the background is known before its work begins."""
        self.begun = True
        return [self._tell("created"), self._tell("queued")]

    def begin(self) -> list[bytes]:
        """The work begins; nothing where it has begun already."""
        if self.begun and self.document.status != "queued":
            return []
        events = [] if self.begun else [self._tell("created")]
        self.begun = True
        self.document.status = "in_progress"
        return [*events, self._tell("in_progress")]

    def push(self, event: GenerateEvent) -> list[bytes]:
        """What `event` brings. Raises Cancelled where the generator stopped on purpose."""
        if isinstance(event, Started | PromptScored):
            return self.begin()
        if isinstance(event, Finished):
            return self._finish(event)
        if self._call.prewarm:
            return []
        return self._summarise(event) if self._call.compacts else self._add(event)

    def fail(self, error: Exception) -> list[bytes]:
        """The last events of a response that came to no good end: what was begun is told as far as it came."""
        if self.ended:
            return []
        events = [] if self.begun else self.begin()
        events += self._close(complete=False)
        self.document.fail(error)
        return [*events, self._end("failed")]

    def cancel(self) -> list[bytes]:
        """The last events of a response that was cancelled. There is none of that name, so it is the one of failures."""
        events = self._close(complete=False)
        self.document.cancel()
        return [*events, self._end("failed")]

    def _finish(self, event: Finished) -> list[bytes]:
        if event.reason == "cancelled":
            raise Cancelled("The answer was stopped before its end. Send the request again.")
        complete = event.reason != "length"
        events = self.begin()
        if self._summary is not None:
            told, item = self._summary.end()
            events += told
            self.document.output.append(item)
        elif not (self._is_open or self.document.output or self._call.prewarm or self._call.compacts):
            events += self._say(self._blank, ())
        events += self._close(complete=complete)
        self.document.finish(event)
        return [*events, self._end(self.document.status)]

    def _add(self, event: Delta) -> list[bytes]:
        match event:
            case TextDelta():
                return self._text(event)
            case ReasoningDelta():
                return self._think(event.text)
            case ToolCallStarted():
                return self._start_call(event)
            case ToolCallDelta():
                return [] if self._tool is None else self._tool.push(event.arguments)
            case ToolCallFinished():
                return [] if self._tool is None else self._close_call(complete=True)

    def _text(self, event: TextDelta) -> list[bytes]:
        """More of the message. White space alone does not begin one: models put it between thought, calls and answer."""
        if self._message is not None:
            return self._message.push(event.text, event.logprobs) if event.text or event.logprobs else []
        self._blank += event.text
        if not event.logprobs and not self._blank.strip():
            return []
        return self._say(self._blank, event.logprobs)

    def _say(self, text: str, logprobs: Sequence[TokenText]) -> list[bytes]:
        events = self._close(complete=True)
        self._message = MessageText(self._writer, len(self.document.output))
        return [*events, *self._message.begin(), *(self._message.push(text, logprobs) if text or logprobs else ())]

    def _think(self, text: str) -> list[bytes]:
        if self._thought is not None:
            return self._thought.push(text)
        if not text:
            return []
        events = self._close(complete=True)
        index, call = len(self.document.output), self._call
        self._thought = Thought(self._writer, index, summarised=call.summarised, sealed=call.sealed)
        return [*events, *self._thought.begin(), *self._thought.push(text)]

    def _start_call(self, event: ToolCallStarted) -> list[bytes]:
        events = self._close(complete=True)
        offered = self._call.toolbox.find(event.name)
        if offered.kind not in ("function", "custom"):
            self._actions += 1
            if self._call.max_tool_calls is not None and self._actions > self._call.max_tool_calls:
                return events  # OpenAI leaves out what is more than was allowed
        self._tool = call_item(self._writer, len(self.document.output), offered, event.id)
        return [*events, *self._tool.begin()]

    @property
    def _is_open(self) -> bool:
        return not (self._message is None and self._thought is None and self._tool is None)

    def _close(self, *, complete: bool) -> list[bytes]:
        """The end of the open item. A call that its end was not told of is cut, whatever comes after it."""
        self._blank = ""
        if self._tool is not None:
            return self._close_call(complete=False)
        text = self._message or self._thought
        self._message = self._thought = None
        if text is None:
            return []
        events, item = text.end(complete=complete)
        self.document.output.append(item)
        return events

    def _close_call(self, *, complete: bool) -> list[bytes]:
        if self._tool is None:
            return []
        events, item = self._tool.end(complete=complete)
        self._tool = None
        if item is not None:
            self.document.output.append(item)
        return events

    def _summarise(self, event: Delta) -> list[bytes]:
        events: list[bytes] = []
        if self._summary is None:
            self._summary = Summary(self._writer, 0)
            events = self._summary.begin()
        if isinstance(event, TextDelta):
            self._summary.push(event.text)
        return events

    def _tell(self, step: str) -> bytes:
        return self._writer.write_response(f"response.{step}", self.document.encode())

    def _end(self, step: str) -> bytes:
        self.ended = True
        return self._tell(step)
