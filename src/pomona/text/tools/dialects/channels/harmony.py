"""gpt-oss: an answer is messages. The channel `analysis` is thought, a message `to=functions.f` is a call, all else is the answer.

Source of the format: https://cookbook.openai.com/articles/openai-harmony
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pomona.core.messages import ToolCall, ToolDefinition
from pomona.text.tools.calls import Calls
from pomona.text.tools.dialect import CallParser, Dialect, Marks, Trigger
from pomona.text.tools.dialects.channels.json_body import arguments_follow, json_body
from pomona.text.tools.grammars import arguments_item, call_rules, literal
from pomona.text.tools.walking import MalformedCall, Reader, Steps, WalkingParser, start_call, walk_call

START, CHANNEL, MESSAGE, CONSTRAIN = "<|start|>", "<|channel|>", "<|message|>", "<|constrain|>"
ENDS = ("<|end|>", "<|call|>", "<|return|>")
HEADER_BEGINS = (START, CHANNEL, " to=", "to=")
LONGEST_HEADER = 512
CHANNEL_NAME = re.compile(r"<\|channel\|>\s*(\w+)")
RECIPIENT = re.compile(r"\bto=([^\s<]+)")
THOUGHTS = "analysis"
BETWEEN = "\n\n"
"""Between two messages that are both part of the answer, or of the thought."""


@dataclass(slots=True)
class _Said:
    """Whether a thought or a text came before."""

    thought: bool = False
    text: bool = False


def _parser(tools: Sequence[ToolDefinition]) -> CallParser:
    return WalkingParser(tools, _walk)


def _walk(reader: Reader, calls: Calls) -> Steps[None]:
    said = _Said()
    while True:
        yield from reader.peek()
        if not reader.rest:
            return
        if (yield from _header_follows(reader)):
            yield from walk_call(reader, calls, "", _message(reader, calls, said))
        else:
            yield from _body(reader, calls, said, thought=False)


def _header_follows(reader: Reader) -> Steps[bool]:
    """A prompt may end within a message; then its answer begins with text."""
    mark = yield from reader.follows(HEADER_BEGINS)
    reader.put_back(mark or "")
    return mark is not None


def _message(reader: Reader, calls: Calls, said: _Said) -> Steps[None]:
    header = yield from _header(reader)
    channel, recipient = CHANNEL_NAME.search(header), RECIPIENT.search(header)
    if recipient is None or recipient.group(1) in ("assistant", "user", "all"):
        reader.begin()
        yield from _body(reader, calls, said, thought=channel is not None and channel.group(1) == THOUGHTS)
        return
    yield from arguments_follow(reader)
    if not start_call(reader, calls, recipient.group(1)):
        yield from _body(reader, calls, said, thought=False)
        return
    said.text = False
    yield from json_body(reader, calls)
    yield from reader.space()
    yield from reader.follows(ENDS)


def _header(reader: Reader) -> Steps[str]:
    """Where the answer ends within the header of a message that is no call, nothing has been said in it."""
    header = ""
    while True:
        text, mark = reader.until((MESSAGE, *ENDS))
        header += text
        if mark == MESSAGE:
            return header
        if mark is not None or len(header) > LONGEST_HEADER:
            raise MalformedCall
        if reader.ended and "to=" not in header + reader.rest:
            reader.take(len(reader.rest))
            return header
        yield from reader.more()


def _body(reader: Reader, calls: Calls, said: _Said, *, thought: bool) -> Steps[None]:
    """Text up to the end of the message, or to where the next one begins."""
    before = BETWEEN if (said.thought if thought else said.text) else ""
    while True:
        text, mark = reader.until((*ENDS, START, CHANNEL))
        if text:
            give = calls.thought if thought else calls.text
            give(before + text)
            before = ""
            said.thought, said.text = said.thought or thought, said.text or not thought
        reader.begin(mark or "")
        if mark in (START, CHANNEL):
            reader.put_back(mark)
        if mark is not None or reader.ended:
            return
        yield


def _calls(tools: Sequence[ToolDefinition], marks: Marks, parallel: bool) -> str:
    """One call: gpt-oss ends its answer after it. A thought may come first, in the form that the model was trained on."""
    _ = parallel
    thought = f"{marks(CHANNEL)} {literal(THOUGHTS)} {marks(MESSAGE)} /(?s:.+)/? {marks(ENDS[0])} {marks(START)} {literal('assistant')}"
    before = f"({thought})?" if _are_tokens(marks) else ""
    return f"start: {before} call\n{_call_rules(tools, marks)}"


def _are_tokens(marks: Marks) -> bool:
    return marks(ENDS[0]).startswith("<[")


def _call_rules(tools: Sequence[ToolDefinition], marks: Marks) -> str:
    """The recipient stands before the channel or behind it; models write both."""
    channel = marks(CHANNEL)

    def call(tool: ToolDefinition) -> str:
        recipient = literal(f" to=functions.{tool.name}")
        return f'({recipient} {channel} "commentary" | {channel} "commentary" {recipient}) {_arguments(tool, marks)}'

    return call_rules(tools, call)


def _arguments(tool: ToolDefinition, marks: Marks) -> str:
    """From behind the recipient and the channel to the end of the call."""
    return f'(" " {marks(CONSTRAIN)} "json" | " json")? {marks(MESSAGE)} {arguments_item(tool)} {marks("<|call|>")}'


def _trigger(tools: Sequence[ToolDefinition], marks: Marks, parallel: bool) -> Trigger:
    """A channel may begin a message of any kind; only calls go on under the rules behind the header."""
    _ = parallel
    others = f'("{THOUGHTS}" | "commentary" | "final") {marks(MESSAGE)}'

    def call(tool: ToolDefinition) -> str:
        return f"{literal(f'commentary to=functions.{tool.name}')} {_arguments(tool, marks)}"

    return Trigger(mark=CHANNEL, rules=f"start: {others} | call\n{call_rules(tools, call)}")


def _written(calls: Sequence[ToolCall]) -> str:
    return f"{START}assistant".join(
        f" to=functions.{call.name}{CHANNEL}commentary json{MESSAGE}{call.arguments or '{}'}<|call|>" for call in calls
    )


HARMONY = Dialect(
    name="harmony",
    recognises=lambda source: "<|channel|>analysis<|message|>" in source,
    parser=_parser,
    calls=_calls,
    trigger=_trigger,
    written=_written,
    visible=(START, CHANNEL, MESSAGE, CONSTRAIN, *ENDS),
    stops=("<|call|>", "<|return|>"),
    reads_thoughts=True,
)
