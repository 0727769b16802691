"""Assistant turns as the real templates write them, and what parsers and grammars make of them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

from pomona.core.generation import TextDelta, ToolCallDelta, ToolCallFinished, ToolCallStarted
from pomona.core.messages import Message, Role, TextPart, ToolCall, ToolDefinition
from pomona.text.templates import ChatTemplate, Conversation
from pomona.text.tools.dialect import CallParser, Dialect, Piece
from pomona.text.tools.grammars import literal

FOLDER = Path(__file__).parents[3] / "data" / "chat_templates"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.jinja")))
ASKED, RESULT = "Hi, what now?", "the result"
DEEP = {"type": "object", "additionalProperties": {"type": "string"}}
TOOLS = (
    ToolDefinition(
        name="get_weather",
        description="The weather somewhere.",
        parameters={
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Where."},
                "days": {"type": "array", "items": {"type": "integer"}},
                "deep": {"type": "object", "properties": {"deeper": DEEP}, "additionalProperties": {"type": "string"}},
            },
            "required": ["city"],
        },
    ),
    ToolDefinition(
        name="add",
        description="A sum.",
        parameters={"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]},
    ),
)
Made = tuple[str, object, bool]
"""Name, arguments, and whether the call is complete."""


@cache
def source(name: str) -> str:
    return (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")


@cache
def template(name: str) -> ChatTemplate:
    return ChatTemplate({"default": source(name)}, variables={"bos_token": "<BOS>", "eos_token": "<EOS>"}, origin=name)


def message(role: Role, text: str, *calls: ToolCall) -> Message:
    return Message(role=role, content=(TextPart(text=text),) if text else (), tool_calls=calls)


def call(number: int, name: str, arguments: object) -> ToolCall:
    return ToolCall(id=f"c{number:08d}", name=name, arguments=json.dumps(arguments, ensure_ascii=False))


def turn(name: str, calls: Sequence[ToolCall], text: str = "") -> str:
    """What the template writes for an assistant message with these calls, and whatever it puts around it."""
    user, results = message("user", ASKED), [replace(message("tool", RESULT), tool_call_id=each.id) for each in calls]
    said = _render(name, [user, message("assistant", text, *calls), *results])
    said = said[: said.index(RESULT)] if RESULT in said else said
    asked = _render(name, [user])
    behind = asked[asked.rindex(ASKED) + len(ASKED) :]
    return said[said.rindex(ASKED) + len(ASKED) :].removeprefix(behind)


def read(parser: CallParser, pieces: Sequence[str]) -> list[Piece]:
    return [piece for text in pieces for piece in parser.push(text)] + parser.finish()


def summary(pieces: Sequence[Piece]) -> tuple[str, list[Made]]:
    """The text, and the calls in order."""
    started = [piece for piece in pieces if isinstance(piece, ToolCallStarted)]
    assert [piece.index for piece in started] == list(range(len(started)))
    finished = {piece.index for piece in pieces if isinstance(piece, ToolCallFinished)}
    calls: list[Made] = []
    for begun in started:
        written = "".join(piece.arguments for piece in pieces if isinstance(piece, ToolCallDelta) and piece.index == begun.index)
        calls.append((begun.name, json.loads(written) if begun.index in finished else written, begun.index in finished))
    return "".join(piece.text for piece in pieces if isinstance(piece, TextDelta)), calls


def cut(text: str, lengths: Sequence[int]) -> list[str]:
    """`text` in pieces of the given lengths, over and over."""
    pieces: list[str] = []
    position = turn = 0
    while position < len(text):
        length = lengths[turn % len(lengths)]
        pieces.append(text[position : position + length])
        position, turn = position + length, turn + 1
    return pieces


def accepted(grammar: str, text: str) -> bool:
    """`text` is one that the grammar makes."""
    matcher = LLMatcher(_bytes_tokenizer(), grammar)
    assert not matcher.is_error(), matcher.get_error()
    return matcher.consume_tokens(list(text.encode())) and matcher.is_accepting()


def accepts_up_to(dialect: Dialect, text: str, last: str, *, parallel: bool = True) -> bool:
    """A part of `text` that ends behind the last occurrence of `last` is one that the grammar of the dialect's calls makes."""
    grammar = LLMatcher(_bytes_tokenizer(), dialect.calls(TOOLS, literal, parallel))
    assert not grammar.is_error(), grammar.get_error()
    return any(_longest(grammar.deep_copy(), text[start:]) + start > text.rindex(last) for start in range(text.rindex(last)))


def _longest(matcher: LLMatcher, text: str) -> int:
    """The length of the longest beginning of `text` that the grammar makes."""
    reached = 0
    for position, byte in enumerate(text.encode()):
        if matcher.is_stopped() or not matcher.try_consume_tokens([byte]):
            break
        reached = position + 1 if matcher.is_accepting() else reached
    return len(text.encode()[:reached].decode("utf-8", "ignore"))


@cache
def _bytes_tokenizer() -> LLTokenizer:
    return LLTokenizer(TokenizerWrapper(_Bytes()))


class _Bytes:
    """Every byte a token, and one that ends the text."""

    eos_token_id = 256
    bos_token_id = None
    tokens = (*(bytes([byte]) for byte in range(256)), b"<end>")
    special_token_ids = (256,)

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


def _render(name: str, messages: list[Message]) -> str:
    return template(name).render(Conversation(messages=messages, tools=TOOLS, options={"enable_thinking": False}))
