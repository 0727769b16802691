"""Streamed chat completions, with all that repeats prepared once."""

from pomona.core.generation import (
    Delta,
    Finished,
    PromptScored,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
)
from pomona.server.openai.answer import to_json
from pomona.server.openai.call import Call
from pomona.server.openai.custom_tools import InputReader
from pomona.server.openai.logprobs import chat_logprobs


class ChatChunks:
    """A first chunk with the role, deltas of content, thought and calls, and an empty one with the reason of the end."""

    def __init__(self, call: Call, head: bytes) -> None:
        self._call = call
        self._fronts = [b"data: " + head + b',"choices":[{"index":%d,"delta":{' % index for index in range(len(call.requests))]
        self._end = b',"usage":null}\n\n' if call.include_usage else b"}\n\n"
        self._plain_end = b'},"logprobs":null,"finish_reason":null}]' + self._end
        self._inputs: dict[int, InputReader] = {}
        """By choice, the reader of the call to a custom tool that runs now."""

    def opening(self, index: int) -> bytes:
        """The role, and empty content."""
        return self._fronts[index] + b'"role":"assistant","content":""' + self._plain_end

    def delta(self, index: int, event: Delta | PromptScored) -> bytes:
        """More content, thought, or of a call."""
        match event:
            case TextDelta():
                return self._text(index, event)
            case ReasoningDelta():
                inside = b'"reasoning_content":' + to_json(event.text) if self._call.show_reasoning else b""
            case ToolCallStarted():
                inside = self._call_started(index, event)
            case ToolCallDelta():
                inside = self._call_goes_on(index, event.index, event.arguments)
            case ToolCallFinished():
                inside = self._call_ended(index, event)
            case PromptScored():
                inside = b""
        return self._fronts[index] + inside + self._plain_end if inside else b""

    def closing(self, index: int, event: Finished) -> bytes:
        """An empty delta with the reason, and what a person should know."""
        rest = self._call_goes_on(index, 0, "", last=True) if index in self._inputs else b""
        lost = self._fronts[index] + rest + self._plain_end if rest else b""
        reason = "function_call" if self._call.legacy and event.reason == "tool_calls" else event.reason
        warnings = b',"warnings":' + to_json(event.warnings) if event.warnings else b""
        return lost + self._fronts[index] + b'},"logprobs":null,"finish_reason":' + to_json(reason) + b"}]" + warnings + self._end

    def _text(self, index: int, event: TextDelta) -> bytes:
        if not event.logprobs:
            return self._fronts[index] + b'"content":' + to_json(event.text) + self._plain_end if event.text else b""
        logprobs = to_json(chat_logprobs(event.logprobs))
        front = self._fronts[index] + b'"content":' + to_json(event.text)
        return front + b'},"logprobs":' + logprobs + b',"finish_reason":null}]' + self._end

    def _call_started(self, index: int, event: ToolCallStarted) -> bytes:
        if self._call.legacy:
            begun = to_json({"name": event.name, "arguments": ""})
            return b'"function_call":' + begun if event.index == 0 else b""
        if event.name in self._call.custom_tools:
            self._inputs[index] = InputReader()
            what: dict[str, object] = {"type": "custom", "custom": {"name": event.name, "input": ""}}
        else:
            what = {"type": "function", "function": {"name": event.name, "arguments": ""}}
        return b'"tool_calls":' + to_json([{"index": event.index, "id": event.id, **what}])

    def _call_goes_on(self, index: int, number: int, arguments: str, *, last: bool = False) -> bytes:
        if self._call.legacy:
            return b'"function_call":{"arguments":' + to_json(arguments) + b"}" if number == 0 else b""
        if (reader := self._inputs.get(index)) is None:
            return b'"tool_calls":[{"index":%d,"function":{"arguments":' % number + to_json(arguments) + b"}}]"
        text = reader.finish() if last else reader.push(arguments)
        return b'"tool_calls":[{"index":%d,"custom":{"input":' % number + to_json(text) + b"}}]" if text else b""

    def _call_ended(self, index: int, event: ToolCallFinished) -> bytes:
        if index not in self._inputs:
            return b""
        rest = self._call_goes_on(index, event.index, "", last=True)
        del self._inputs[index]
        return rest
