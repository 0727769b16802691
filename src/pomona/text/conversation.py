"""Messages as one chat template wants them. How it wants them is a Style, which `text.styles` finds out."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

from pomona.core.messages import Message, TextPart, ToolCall, ToolDefinition

Fields = dict[str, object]
Arguments = Literal["object", "text"]
Empty = Literal["null", "empty", "absent"]
Thoughts = Literal["", "reasoning_content", "reasoning", "thinking", "thought", "part", "tags"]
SHORT_ID_LENGTH = 9
SYSTEM_ROLES = ("system", "developer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How one template wants its messages."""

    parts: frozenset[str] = frozenset()
    """Roles whose content must be a list of parts; others take a string."""
    lost: frozenset[str] = frozenset()
    """Roles whose content the template leaves out in silence."""
    developer: bool = False
    """The template has a developer role; others get such messages as system messages."""
    many_system: bool = True
    """Several system messages may begin a conversation. Others get them as one."""
    in_place: bool = True
    """A system message may come later. Others get it as text of a user's turn, at the same place, between `<system>` tags."""
    tools: bool = True
    """The template shows tool definitions."""
    calls: bool = True
    """The template shows the calls that an assistant message made."""
    parallel_calls: bool = True
    """A message may make several calls. Others get a message for each, with its result behind it."""
    arguments: Arguments = "object"
    empty: Empty = "null"
    """The content of a message that only calls tools."""
    text_beside_calls: bool = True
    """A message may have text and calls. Others would lose the calls, so the text goes."""
    short_call_ids: bool = False
    """Call ids must have nine letters or digits (Mistral)."""
    thoughts: Thoughts = ""
    """The field that an old thought belongs into, a part of the content, tags in it, or nothing: the template leaves thoughts out."""
    thoughts_beside_text: bool = True
    """A message with calls may have both a thought and text. Others would be refused, so the thought goes."""
    thought_tags: tuple[str, str] = ("", "")


WriteCalls = Callable[[Sequence[ToolCall]], str]
"""Calls as text, for templates that have no place for them."""


def tool_fields(tools: Sequence[ToolDefinition]) -> list[Fields]:
    """Tools in the form that templates share: OpenAI's."""
    return [
        {"type": "function", "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}}
        for tool in tools
    ]


def message_fields(messages: Sequence[Message], style: Style, write_calls: WriteCalls | None = None) -> list[Fields]:
    """Messages as a template of this style wants them. Tool results learn the name of the tool from the call."""
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    if not style.calls and write_calls is not None:
        messages = [_with_written_calls(message, write_calls) for message in messages]
    if not style.parallel_calls:
        messages = _one_call_each(messages)
    return [_fields(message, style, names) for message in _system_in_place(messages, style)]


def _fields(message: Message, style: Style, names: Mapping[str, str]) -> Fields:
    role = "system" if message.role == "developer" and not style.developer else message.role
    fields: Fields = {**message.extra, "role": role}
    drops_text = bool(message.tool_calls) and (not message.text or not style.text_beside_calls)
    if not drops_text:
        fields["content"] = [{"type": "text", "text": part.text} for part in message.content] if role in style.parts else message.text
    elif style.empty != "absent":
        fields["content"] = None if style.empty == "null" else ""
    if message.reasoning and message.role == "assistant" and style.thoughts:
        _add_thought(fields, message, style)
    if message.tool_calls:
        fields["tool_calls"] = [_call_fields(call, style) for call in message.tool_calls]
    name = message.name or (names.get(message.tool_call_id) if message.tool_call_id else None)
    if name:
        fields["name"] = name
    if message.tool_call_id:
        fields["tool_call_id"] = _call_id(message.tool_call_id, style)
    return fields


def _add_thought(fields: Fields, message: Message, style: Style) -> None:
    if message.tool_calls and fields.get("content") and not style.thoughts_beside_text:
        return
    if style.thoughts == "tags":
        begin, end = style.thought_tags
        fields["content"] = f"{begin}\n{message.reasoning}\n{end}\n\n{message.text}"
    elif style.thoughts == "part":
        text: list[Fields] = [{"type": "text", "text": message.text}] if message.text else []
        fields["content"] = [{"type": "thinking", "thinking": message.reasoning}, *text]
    else:
        fields[style.thoughts] = message.reasoning


def _call_fields(call: ToolCall, style: Style) -> Fields:
    arguments = _parsed(call.arguments) if style.arguments == "object" else call.arguments
    return {"id": _call_id(call.id, style), "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _parsed(arguments: str) -> object:
    """What the model once wrote may be no JSON; then the template gets the text."""
    try:
        parsed = cast("object", json.loads(arguments or "{}"))
    except ValueError:
        return arguments
    return cast("Fields", parsed) if isinstance(parsed, dict) else arguments


def _call_id(call_id: str, style: Style) -> str:
    if not style.short_call_ids or (len(call_id) == SHORT_ID_LENGTH and call_id.isalnum()):
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:SHORT_ID_LENGTH]


def _with_written_calls(message: Message, write_calls: WriteCalls) -> Message:
    if not message.tool_calls:
        return message
    return replace(message, content=(TextPart(text=message.text + write_calls(message.tool_calls)),), tool_calls=())


def _one_call_each(messages: Sequence[Message]) -> list[Message]:
    """Each call in a message of its own, followed by its result. Text and thought stay with the first."""
    if all(len(message.tool_calls) < 2 for message in messages):
        return list(messages)
    spread: list[Message] = []
    waiting: dict[str, int] = {}
    for message in messages:
        if len(message.tool_calls) > 1:
            for turn, call in enumerate(message.tool_calls):
                waiting[call.id] = len(spread)
                only = replace(message, tool_calls=(call,))
                spread.append(only if turn == 0 else replace(only, content=(), reasoning=""))
        elif message.role == "tool" and message.tool_call_id in waiting:
            place = waiting.pop(message.tool_call_id) + 1
            spread.insert(place, message)
            waiting = {call: index + (index >= place) for call, index in waiting.items()}
        else:
            spread.append(message)
    return spread


def _system_in_place(messages: Sequence[Message], style: Style) -> list[Message]:
    """System messages where the template takes them. None is moved: that would change the beginning, which the cache keeps."""
    leading = next((index for index, message in enumerate(messages) if message.role not in SYSTEM_ROLES), len(messages))
    first = list(messages[:leading])
    if len(first) > 1 and not style.many_system:
        first = [replace(first[0], content=(TextPart(text="\n\n".join(message.text for message in first)),))]
    if style.in_place or not any(message.role in SYSTEM_ROLES for message in messages[leading:]):
        return [*first, *messages[leading:]]
    return [*first, *_as_user_text(messages[leading:])]


def _as_user_text(messages: Sequence[Message]) -> list[Message]:
    """Later system messages as text of the user's turn beside them, since many templates want turns to alternate."""
    turns: list[Message] = []
    waiting = ""
    for message in messages:
        if message.role in SYSTEM_ROLES:
            text = f"<system>\n{message.text}\n</system>"
            if turns and turns[-1].role == "user":
                turns[-1] = _with_text(turns[-1], f"{turns[-1].text}\n\n{text}")
            else:
                waiting = f"{waiting}\n\n{text}" if waiting else text
        elif waiting and message.role == "user":
            turns.append(_with_text(message, f"{waiting}\n\n{message.text}"))
            waiting = ""
        else:
            turns += [*_user_turn(waiting), message]
            waiting = ""
    return [*turns, *_user_turn(waiting)]


def _with_text(message: Message, text: str) -> Message:
    return replace(message, content=(TextPart(text=text),))


def _user_turn(text: str) -> list[Message]:
    return [Message(role="user", content=(TextPart(text=text),))] if text else []
