"""Assistant turns as the real templates write them, for round trips."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pomona.core.errors import PomonaError
from pomona.core.messages import Message, TextPart, ToolCall, ToolDefinition
from pomona.text.templates import ChatTemplate, Conversation

FOLDER = Path(__file__).parents[3] / "data" / "chat_templates"
TOOLS = (
    ToolDefinition(
        name="get_weather",
        description="The weather somewhere.",
        parameters={
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Where."},
                "days": {"type": "array", "items": {"type": "integer"}},
                "options": {
                    "type": "object",
                    "properties": {"unit": {"type": "string"}, "deep": {"type": "object", "additionalProperties": {"type": "string"}}},
                    "additionalProperties": {"type": "string"},
                },
            },
            "required": ["city"],
        },
    ),
    ToolDefinition(
        name="add",
        description="A sum.",
        parameters={"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}, "required": ["a", "b"]},
    ),
)
ENDS = (
    "<EOS>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|END_OF_TURN_TOKEN|>",
    "<｜end▁of▁sentence｜>",
    "<|message_sep|>",
)
ENDS += ("<|end|>", "<sep>", "<|assistant_end|>", "<SPECIAL_12>")


@cache
def template(name: str) -> ChatTemplate:
    source = (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    return ChatTemplate({"default": source}, variables={"bos_token": "<BOS>", "eos_token": "<EOS>"}, origin=name)


def source(name: str) -> str:
    return (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")


def message(role: str, text: str, **more: object) -> Message:
    return Message(role=role, content=(TextPart(text=text),) if text else (), **more)  # pyright: ignore[reportArgumentType]


def call(name: str, **arguments: object) -> ToolCall:
    return ToolCall(id=f"c{abs(hash(name)) % 10**8:08d}", name=name, arguments=json.dumps(arguments, ensure_ascii=False))


def turn(name: str, calls: Sequence[ToolCall], text: str = "") -> str:
    """What the template writes for an assistant message with these calls, without what stands before and behind every answer."""
    user = message("user", "Hi, what now?")
    said = _render(name, [user, message("assistant", text, tool_calls=tuple(calls))])
    asked = _render(name, [user])
    start = len(_common(said, asked))
    return said[start:]


def _render(name: str, messages: list[Message]) -> str:
    return template(name).render(Conversation(messages=messages, tools=TOOLS, options={"enable_thinking": True, "thinking": False}))


def _common(one: str, other: str) -> str:
    length = next((index for index, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other)))
    return one[:length]


__all__ = ["ENDS", "FOLDER", "TOOLS", "PomonaError", "call", "message", "source", "template", "turn"]
