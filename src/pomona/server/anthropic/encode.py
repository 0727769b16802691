"""From events to Anthropic's bytes: the blocks of an answer, one open at a time, streamed or as one message."""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal, cast

import msgspec
from pydantic_core import from_json

from pomona.core.errors import Cancelled
from pomona.core.generation import (
    Delta,
    Finished,
    PromptScored,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
    Usage,
)
from pomona.server.answering import Events
from pomona.server.anthropic.conversation import signature_of
from pomona.server.anthropic.decode import Call
from pomona.server.anthropic.diagnostics import diagnosis
from pomona.server.anthropic.tools import Member
from pomona.server.errors import error_document
from pomona.server.sse import StreamStyle

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_FIELDS = {"text": "text", "thinking": "thinking", "tool_use": "partial_json", "compaction": "content"}
_DELTAS = {"text": "text_delta", "thinking": "thinking_delta", "tool_use": "input_json_delta", "compaction": "compaction_delta"}
_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"'
_FIELD_FRONTS = {kind: f'{delta}","{_FIELDS[kind]}":'.encode() for kind, delta in _DELTAS.items()}
_json = msgspec.json.Encoder().encode
Kind = Literal["text", "thinking", "tool_use", "compaction"]
Block = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A block begins; `block` is as the wire shows it when it is empty."""

    kind: Kind
    block: Block


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """More of the open block."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The open block is complete; `signature` is that of a thought."""

    kind: Kind
    signature: str = ""


Step = Opened | Added | Closed


class Blocks:
    """Turns deltas into steps on blocks, for streams and for whole answers alike.

    Text that is only white space, as models put it between a thought and a call, makes no block: clients send answers back, and
    Anthropic's own API refuses such blocks.
    """

    def __init__(self, members: Mapping[str, Member], *, hide_thoughts: bool) -> None:
        self._members = members
        self._hide_thoughts = hide_thoughts
        self._open: Kind | None = None
        self._thought: list[str] = []
        self._space = ""

    def take(self, event: Delta) -> Iterator[Step]:
        """The steps of one delta."""
        match event:
            case TextDelta():
                yield from self._text(event.text)
            case ReasoningDelta():
                yield from self._think(event.text)
            case ToolCallStarted():
                yield from self._begin("tool_use", self._call(event))
            case ToolCallDelta():
                if event.arguments:
                    yield Added(kind="tool_use", text=event.arguments)
            case ToolCallFinished():
                yield from self.close()

    def close(self) -> Iterator[Step]:
        """Complete the open block, if there is one."""
        self._space = ""
        if self._open is None:
            return
        kind, self._open = self._open, None
        signature = signature_of("".join(self._thought), hidden=self._hide_thoughts) if kind == "thinking" else ""
        self._thought = []
        yield Closed(kind=kind, signature=signature)

    def _text(self, text: str) -> Iterator[Step]:
        if self._open != "text":
            text = self._space + text
            if not text or text.isspace():
                self._space = text
                return
            yield from self._begin("text", {"type": "text", "text": ""})
        if text:
            yield Added(kind="text", text=text)

    def _think(self, text: str) -> Iterator[Step]:
        if self._open != "thinking":
            yield from self._begin("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        self._thought.append(text)
        if text and not self._hide_thoughts:
            yield Added(kind="thinking", text=text)

    def _begin(self, kind: Kind, block: Block) -> Iterator[Step]:
        yield from self.close()
        self._open = kind
        yield Opened(kind=kind, block=block)

    def _call(self, event: ToolCallStarted) -> Block:
        block: Block = {"type": "tool_use", "id": event.id, "name": event.name, "input": {}}
        member = self._members.get(event.name)
        if member is None:
            return block
        return block | {"name": member.name, "toolset_name": member.toolset, "caller": {"type": "direct"}}


class Summary:
    """The one block of a compacted conversation. Clients take its text in one piece, so it is told at the end."""

    def __init__(self, tool_changes: Sequence[Mapping[str, object]]) -> None:
        self._texts: list[str] = []
        self._tool_changes = tool_changes

    def take(self, event: Delta) -> Iterator[Step]:
        """Keeps text, and nothing else."""
        if isinstance(event, TextDelta):
            self._texts.append(event.text)
        yield from ()

    def close(self) -> Iterator[Step]:
        """The whole block."""
        changes = {"tool_changes": list(self._tool_changes)} if self._tool_changes else {}
        yield Opened(kind="compaction", block={"type": "compaction", "content": None, "encrypted_content": None, **changes})
        yield Added(kind="compaction", text="".join(self._texts).strip())
        yield Closed(kind="compaction")


async def stream_message(call: Call, events: Events) -> AsyncGenerator[bytes]:
    """The answer as server-sent events: message_start and a ping before any prefill, blocks, message_delta, message_stop."""
    blocks, index = _blocks(call), -1
    async with aclosing(events):
        async for _, event in events:
            match event:
                case Started():
                    yield _event("message_start", {"message": _opening(call, event.prompt_tokens)}) + PING
                case PromptScored():
                    pass
                case _:
                    for step in _steps(call, blocks, event):
                        index += isinstance(step, Opened)
                        yield _chunk(step, index)
            if isinstance(event, Finished):
                yield _closing(call, event)


async def whole_message(call: Call, events: Events) -> bytes:
    """The answer as one message."""
    blocks = _blocks(call)
    steps: list[Step] = []
    finished: Finished | None = None
    async with aclosing(events):
        async for _, event in events:
            match event:
                case Started() | PromptScored():
                    pass
                case _:
                    steps.extend(_steps(call, blocks, event))
            finished = event if isinstance(event, Finished) else finished
    if finished is None:
        raise Cancelled("The answer ended before it was complete. Send the request again.")
    return _json(
        _message(call, _fold(steps)) | _ending(call, finished) | {"usage": _full_usage(call, finished.usage)} | _notes(call, finished)
    )


def _steps(call: Call, blocks: Blocks | Summary, event: Delta | Finished) -> Iterator[Step]:
    if _is_prewarming(call):
        return iter(())
    return blocks.close() if isinstance(event, Finished) else blocks.take(event)


def _is_prewarming(call: Call) -> bool:
    return call.max_tokens == 0


def _blocks(call: Call) -> Blocks | Summary:
    return Summary(call.tool_changes) if call.compacts else Blocks(call.members, hide_thoughts=call.hide_thoughts)


def _event(name: str, fields: Mapping[str, object]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _json({"type": name, **fields}))


def _chunk(step: Step, index: int) -> bytes:
    match step:
        case Added():  # once per token, so it is put together by hand
            return _DELTA % index + _FIELD_FRONTS[step.kind] + _json(step.text) + b"}}\n\n"
        case Opened():
            return _event("content_block_start", {"index": index, "content_block": step.block})
        case Closed():
            signed = {"index": index, "delta": {"type": "signature_delta", "signature": step.signature}}
            front = _event("content_block_delta", signed) if step.signature else b""
            return front + _event("content_block_stop", {"index": index})


def _fold(steps: Sequence[Step]) -> list[Block]:
    content: list[Block] = []
    texts: list[str] = []
    for step in steps:
        match step:
            case Opened():
                content.append(dict(step.block))
                texts = []
            case Added():
                texts.append(step.text)
            case Closed():
                _complete(content[-1], "".join(texts), step)
    return content


def _complete(block: Block, text: str, step: Closed) -> None:
    if step.kind == "tool_use":
        block["input"] = _arguments(text)
    else:
        block[_FIELDS[step.kind]] = text
    if step.kind == "thinking":
        block["signature"] = step.signature


def _arguments(text: str) -> Block:
    """The input of a call; of one that was cut, what is complete of it, as the SDK's accumulator has it too."""
    try:
        found: object = from_json(text, allow_partial=True)
    except ValueError:
        found = None
    return cast("Block", found) if isinstance(found, dict) else {}


def _opening(call: Call, prompt_tokens: int) -> Block:
    """What is cached is not known yet: the last event says it."""
    usage = _full_usage(call, Usage(prompt_tokens=prompt_tokens))
    pending = {"diagnostics": {"cache_miss_reason": None}} if call.diagnose else {}
    return _message(call, []) | {"stop_reason": None, "stop_sequence": None, "stop_details": None, "usage": usage} | pending


def _closing(call: Call, finished: Finished) -> bytes:
    ending = _event("message_delta", {"delta": _ending(call, finished), "usage": _usage(call, finished.usage), **_notes(call, finished)})
    return ending + _MESSAGE_STOP


def _message(call: Call, content: list[Block]) -> Block:
    return {"id": call.id, "type": "message", "role": "assistant", "model": call.model, "content": content}


def _ending(call: Call, finished: Finished) -> Block:
    return {"stop_reason": _stop_reason(call, finished), "stop_sequence": finished.stop_sequence, "stop_details": None}


def _stop_reason(call: Call, finished: Finished) -> str:
    match finished.reason:
        case "tool_calls":
            return "tool_use"
        case "length":
            cut_short = finished.usage.completion_tokens < call.max_tokens  # by the context: max_tokens was more than it left
            return "model_context_window_exceeded" if cut_short else "max_tokens"
        case "cancelled":
            raise Cancelled("The answer was stopped before its end. Send the request again.")
        case "stop":
            return _end_reason(call, finished)


def _end_reason(call: Call, finished: Finished) -> str:
    if _is_prewarming(call):
        return "max_tokens"
    if call.compacts:
        return "compaction"
    return "end_turn" if finished.stop_sequence is None else "stop_sequence"


def _usage(call: Call, usage: Usage) -> Block:
    """Three disjoint kinds of input: what was computed, what was written to the cache at a price (nothing), what was read from it."""
    silent = _is_prewarming(call)
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": 0 if silent else usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": 0 if silent else usage.reasoning_tokens},
    }


def _full_usage(call: Call, usage: Usage) -> Block:
    """That of a whole message; at the end of a stream Anthropic says less."""
    created = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}
    speed = "fast" if call.fast else "standard"
    return _usage(call, usage) | {"cache_creation": created, "service_tier": "standard", "speed": speed}


def _notes(call: Call, finished: Finished) -> Block:
    """What only those see who asked for it."""
    notes: Block = {}
    if call.edits is not None:
        notes["context_management"] = {"applied_edits": list(call.applied_edits)}
    if call.diagnose:
        notes["diagnostics"] = diagnosis(finished.cache, finished.usage, known=call.previous_known)
    return notes


def _error_event(error: Exception) -> bytes:
    return b"event: error\ndata: " + error_document(error, "anthropic") + b"\n\n"


ANTHROPIC_STYLE = StreamStyle(keepalive=PING, error=_error_event)
