"""Messages as one chat template wants them. How it wants them is a Style, which `text.styles` finds out."""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

from pomona.core.messages import Message, TextPart, ToolCall, ToolDefinition
from pomona.text.pictures.marks import marks_in, split_marks
from pomona.text.tools.teaching import WriteCalls, lesson, listed, result_text

Fields = dict[str, object]
Arguments = Literal["object", "text"]
Empty = Literal["null", "empty", "absent"]
Thoughts = Literal["", "reasoning_content", "reasoning", "thinking", "thought", "part", "tags"]
SHORT_ID_LENGTH = 9
SYSTEM_ROLES = ("system", "developer")
TOOLS_SYSTEM = "You are a helpful assistant with some tools."
"""Phi-4's own system message where there are tools and no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How one template wants its messages."""

    parts: frozenset[str] = frozenset()
    """Roles whose content must be a list of parts; others take a string."""
    picture_parts: frozenset[str] = frozenset()
    """Roles whose pictures must be parts of their own; in texts of others they are marks."""
    lost: frozenset[str] = frozenset()
    """Roles whose content the template leaves out in silence."""
    developer: bool = False
    """The template has a developer role; others get such messages as system messages."""
    many_system: bool = True
    """Several system messages may begin a conversation. Others get them as one."""
    in_place: bool = True
    """A system message may come later. Others get it as text of a user's turn, at the same place, between `<system>` tags."""
    system: bool = True
    """The template has a system role. Others get such messages as the beginning of the first user's turn."""
    alternates: bool = False
    """The template refuses two turns of one role in a row. It gets them as one."""
    tools: bool = True
    """The template shows tool definitions. Others get them as text of the system message."""
    tools_field: bool = False
    """The template shows them, but from a field of the system message, as JSON text (Phi-4)."""
    calls: bool = True
    """The template shows the calls that an assistant message made."""
    results: bool = True
    """The template takes results as messages of their own. Others get them as text of a user's turn."""
    user_after_results: bool = True
    """A user's turn may follow results. Others get its text at the end of the last result (Mistral)."""
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


def message_fields(
    messages: Sequence[Message], style: Style, write_calls: WriteCalls | None = None, tools: Sequence[ToolDefinition] = ()
) -> list[Fields]:
    """Messages as a template of this style wants them. Tool results learn the name of the tool from the call.

    `tools` are those that the messages must show, since the template shows none of itself; `write_calls` is needed for that.
    """
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    if not style.calls and write_calls is not None:
        messages = [_with_written_calls(message, write_calls) for message in messages]
    if not style.results:
        messages = _results_as_user_text(messages, list(names))
    if not style.parallel_calls:
        messages = _one_call_each(messages)
    messages = _system_in_place(messages, style)
    if tools and not style.tools and write_calls is not None:
        messages = _with_tools(messages, tools, style, write_calls)
    if not style.system:
        messages = _system_in_first_turn(messages)
    return [_fields(message, style, names) for message in _alternating(messages, style)]


def _fields(message: Message, style: Style, names: Mapping[str, str]) -> Fields:
    role = "system" if message.role == "developer" and not style.developer else message.role
    fields: Fields = {**message.extra, "role": role}
    drops_text = bool(message.tool_calls) and (not message.text or not style.text_beside_calls)
    if not drops_text:
        fields["content"] = _content(message, role, style)
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


def picture_part_marks(fields: Sequence[Fields]) -> list[str]:
    """The marks of the pictures that are parts of their own, in order."""
    contents = (each.get("content") for each in fields)
    parts = (part for content in contents if isinstance(content, list) for part in cast("list[Fields]", content))
    return [str(part["mark"]) for part in parts if part["type"] == "image"]


def _content(message: Message, role: str, style: Style) -> object:
    if role in style.picture_parts and marks_in(message.text):
        return [
            {"type": "image", "mark": piece} if is_mark else {"type": "text", "text": piece} for piece, is_mark in split_marks(message.text)
        ]
    return _parts(message) if role in style.parts else message.text


def _parts(message: Message) -> list[Fields]:
    return [{"type": "text", "text": part.text} for part in message.content if isinstance(part, TextPart)]


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


def _results_as_user_text(messages: Sequence[Message], calls: Sequence[str]) -> list[Message]:
    """Results in a row as one user's turn, in the order of their calls, since no id tells them apart; a user's text behind them too."""
    turns: list[Message] = []
    for are_results, run in itertools.groupby(messages, lambda message: message.role == "tool"):
        these = list(run)
        if are_results:
            these.sort(key=lambda message: calls.index(message.tool_call_id) if message.tool_call_id in calls else len(calls))
            text = "\n".join(result_text(message.text) for message in these)
            turns.append(Message(role="user", content=(TextPart(text=text),)))
        elif turns and turns[-1].role == "user" and these[0].role == "user":
            turns[-1:] = [_with_text_before(these[0], turns[-1].text), *these[1:]]
        else:
            turns += these
    return turns


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
    leading = _leading(messages)
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


def _with_tools(messages: Sequence[Message], tools: Sequence[ToolDefinition], style: Style, write_calls: WriteCalls) -> list[Message]:
    """Tools at the end of the first system message, or as one; so they stay where they are as the conversation grows."""
    leading = _leading(messages)
    if style.tools_field:
        last = messages[leading - 1] if leading else Message(role="system", content=(TextPart(text=TOOLS_SYSTEM),))
        last = replace(last, extra={**last.extra, "tools": listed(tools)})
    else:
        last = messages[leading - 1] if leading else Message(role="system")
        text = lesson(tools, write_calls)
        last = _with_text(last, f"{last.text}\n\n{text}" if last.text else text)
    return [*messages[: max(leading - 1, 0)], last, *messages[leading:]]


def _system_in_first_turn(messages: Sequence[Message]) -> list[Message]:
    """For templates without a system role, as Gemma 3's does it by itself."""
    leading = _leading(messages)
    text = "\n\n".join(message.text for message in messages[:leading] if message.text)
    rest = list(messages[leading:])
    if text and rest and rest[0].role == "user":
        return [_with_text_before(rest[0], text), *rest[1:]]
    return [*_user_turn(text), *rest]


def _alternating(messages: Sequence[Message], style: Style) -> list[Message]:
    turns: list[Message] = []
    for message in messages:
        last = turns[-1] if turns else None
        if last is not None and style.alternates and last.role == message.role in ("user", "assistant") and not last.tool_calls:
            turns[-1] = replace(_with_text_before(message, last.text), reasoning=last.reasoning or message.reasoning)
        elif last is not None and not style.user_after_results and (last.role, message.role) == ("tool", "user"):
            turns[-1] = replace(last, content=_with_text_before(message, last.text).content)
        else:
            turns.append(message)
    return turns


def _leading(messages: Sequence[Message]) -> int:
    """How many system messages begin the conversation."""
    return next((index for index, message in enumerate(messages) if message.role not in SYSTEM_ROLES), len(messages))


def _with_text_before(message: Message, text: str) -> Message:
    return _with_text(message, f"{text}\n\n{message.text}" if text and message.text else text or message.text)


def _with_text(message: Message, text: str) -> Message:
    return replace(message, content=(TextPart(text=text),))


def _user_turn(text: str) -> list[Message]:
    return [Message(role="user", content=(TextPart(text=text),))] if text else []
