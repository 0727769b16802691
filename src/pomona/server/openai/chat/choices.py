"""Whole chat completions."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pomona.core.generation import (
    Delta,
    Finished,
    PromptScored,
    ReasoningDelta,
    TextDelta,
    TokenText,
    ToolCallDelta,
    ToolCallStarted,
)
from pomona.server.openai.answer import Document
from pomona.server.openai.call import Call
from pomona.server.openai.custom_tools import InputReader
from pomona.server.openai.logprobs import chat_logprobs


class ChatChoices:
    """The choices of one call while they grow."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._grown = [_Grown() for _ in call.requests]

    def add(self, index: int, event: Delta | PromptScored | Finished) -> None:
        """More of choice `index`, or its end."""
        grown = self._grown[index]
        match event:
            case TextDelta():
                grown.text.append(event.text)
                grown.logprobs.extend(event.logprobs)
            case ReasoningDelta():
                grown.reasoning.append(event.text)
            case ToolCallStarted():
                grown.calls.append(_GrownCall(id=event.id, name=event.name))
            case ToolCallDelta():
                grown.calls[-1].arguments.append(event.arguments)
            case Finished():
                grown.reason = event.reason
            case _:
                pass

    def documents(self) -> Sequence[Document]:
        """All choices as they are shown."""
        return [self._choice(index, grown) for index, grown in enumerate(self._grown)]

    def _choice(self, index: int, grown: "_Grown") -> Document:
        return {
            "index": index,
            "message": self._message(grown),
            "logprobs": chat_logprobs(grown.logprobs) if self._call.logprobs else None,
            "finish_reason": "function_call" if self._call.legacy and grown.reason == "tool_calls" else grown.reason,
        }

    def _message(self, grown: "_Grown") -> Document:
        text = "".join(grown.text)
        message: dict[str, object] = {"role": "assistant", "content": text or (None if grown.calls else ""), "refusal": None}
        if grown.reasoning and self._call.show_reasoning:
            message["reasoning_content"] = "".join(grown.reasoning)
        if grown.calls and self._call.legacy:
            first = grown.calls[0]  # the old form has room for one
            message["function_call"] = {"name": first.name, "arguments": "".join(first.arguments)}
        elif grown.calls:
            message["tool_calls"] = [self._tool_call(each) for each in grown.calls]
        return message

    def _tool_call(self, call: "_GrownCall") -> Document:
        arguments = "".join(call.arguments)
        if call.name not in self._call.custom_tools:
            return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}
        reader = InputReader()
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": reader.push(arguments) + reader.finish()}}


@dataclass(slots=True, kw_only=True)
class _GrownCall:
    id: str
    name: str
    arguments: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class _Grown:
    """One choice."""

    text: list[str] = field(default_factory=list[str])
    reasoning: list[str] = field(default_factory=list[str])
    calls: list[_GrownCall] = field(default_factory=list[_GrownCall])
    logprobs: list[TokenText] = field(default_factory=list[TokenText])
    reason: str = "stop"
