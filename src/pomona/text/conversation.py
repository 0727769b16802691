"""Messages as chat templates want them. Templates disagree, and say so nowhere; so each is tried out once.

Source of the method: the trial renderings of llama.cpp's minja (`chat-template.hpp`), which knows the same disagreements.
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

from pomona.core.messages import Message, Role, TextPart, ToolCall, ToolDefinition

Fields = dict[str, object]
Trial = Callable[[Sequence[Fields], Sequence[Fields]], str | None]
"""Renders messages and tools; None where the template refuses them."""
Arguments = Literal["object", "text"]
Empty = Literal["null", "empty", "absent"]
MARK, KEY, VALUE, TOOL = "pomona mark", "pomona_key", "pomona_value", "pomona_tool"
SHORT_ID_LENGTH = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How one template wants its messages."""

    parts: frozenset[str] = frozenset()
    """Roles whose content must be a list of parts; others take a string."""
    lost: frozenset[str] = frozenset()
    """Roles whose content the template leaves out in silence."""
    developer: bool = False
    """The template has a developer role; others get such messages as system messages."""
    tools: bool = True
    """The template shows tool definitions."""
    calls: bool = True
    """The template shows the calls that an assistant message made."""
    arguments: Arguments = "object"
    empty: Empty = "null"
    """The content of a message that only calls tools."""
    text_beside_calls: bool = True
    """A message may have text and calls. Others would lose the calls, so the text goes."""
    short_call_ids: bool = False
    """Call ids must have nine letters or digits (Mistral)."""


def find_style(source: str, trial: Trial) -> Style:
    """Try the template out on small conversations."""
    style = Style(developer="'developer'" in source or '"developer"' in source)
    style = _with_content(style, "user", trial)
    shown = trial(message_fields([_message("user")], style), TOOLS) or ""
    style = replace(style, tools=TOOL in shown)
    style = _with_calls(style, trial, shown.count("None"))
    for role in ("system", "assistant", "tool"):
        style = _with_content(style, role, trial)
    return style


def tool_fields(tools: Sequence[ToolDefinition]) -> list[Fields]:
    """Tools in the form that templates share: OpenAI's."""
    return [
        {"type": "function", "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}}
        for tool in tools
    ]


def message_fields(messages: Sequence[Message], style: Style) -> list[Fields]:
    """Messages as a template of this style wants them. Tool results learn the name of the tool from the call."""
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    return [_fields(message, style, names) for message in messages]


def _fields(message: Message, style: Style, names: Mapping[str, str]) -> Fields:
    role = "system" if message.role == "developer" and not style.developer else message.role
    fields: Fields = {**message.extra, "role": role}
    drops_text = bool(message.tool_calls) and (not message.text or not style.text_beside_calls)
    if not drops_text:
        fields["content"] = [{"type": "text", "text": part.text} for part in message.content] if role in style.parts else message.text
    elif style.empty != "absent":
        fields["content"] = None if style.empty == "null" else ""
    if message.tool_calls:
        fields["tool_calls"] = [_call_fields(call, style) for call in message.tool_calls]
    name = message.name or (names.get(message.tool_call_id) if message.tool_call_id else None)
    if name:
        fields["name"] = name
    if message.tool_call_id:
        fields["tool_call_id"] = _call_id(message.tool_call_id, style)
    return fields


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


def _with_content(style: Style, role: Role, trial: Trial) -> Style:
    """A string is what most templates want; a list of parts only where a string does not come through."""
    messages = {
        "user": [_message("user", MARK)],
        "system": [_message("system", MARK), _message("user")],
        "assistant": [_message("user"), _message("assistant", MARK), _message("user")],
        "tool": [_message("user"), _message("assistant", "", CALL), _message("tool", MARK)],
    }[role]
    plain = trial(message_fields(messages, style), TOOLS)
    if _shows_text(plain):
        return style
    with_parts = replace(style, parts=style.parts | {role})
    if _shows_text(trial(message_fields(messages, with_parts), TOOLS)):
        return with_parts
    return style if plain is None else replace(style, lost=style.lost | {role})


def _with_calls(style: Style, trial: Trial, nones: int) -> Style:
    """The first form of calls that comes through; objects as arguments and null as content come first, as OpenAI has them.

    `nones` counts the word None in the template's own text.
    """
    for short, arguments, empty in itertools.product((False, True), get_args(Arguments), get_args(Empty)):
        candidate = replace(style, short_call_ids=short, arguments=arguments, empty=empty)
        if _shows_call(_try_call("", candidate, trial), nones):
            shown = _try_call(MARK, candidate, trial)
            return replace(candidate, text_beside_calls=_shows_call(shown, nones))
    return replace(style, calls=False, empty="empty")


def _try_call(text: str, style: Style, trial: Trial) -> str | None:
    return trial(message_fields([_message("user"), _message("assistant", text, CALL), _message("tool", "done")], style), TOOLS)


def _shows_text(rendered: str | None) -> bool:
    """A list printed as Python would show the text in quotes."""
    return rendered is not None and MARK in rendered and f"'{MARK}'" not in rendered


def _shows_call(rendered: str | None, nones: int) -> bool:
    """Neither Python's way of printing an object, nor JSON inside a JSON string, nor a printed None."""
    if rendered is None or VALUE not in rendered or rendered.count("None") > nones:
        return False
    return f"'{KEY}'" not in rendered and f'\\"{KEY}' not in rendered


def _message(role: Role, text: str = "Hello", *calls: ToolCall) -> Message:
    return Message(
        role=role, content=(TextPart(text=text),) if text else (), tool_calls=calls, tool_call_id=CALL.id if role == "tool" else None
    )


CALL = ToolCall(id="call_0123456789abcdef", name=TOOL, arguments=json.dumps({KEY: VALUE}))
TOOLS = tool_fields(
    [
        ToolDefinition(
            name=TOOL,
            description="A tool.",
            parameters={"type": "object", "properties": {"word": {"type": "string", "description": "A word."}}, "required": ["word"]},
        )
    ]
)
