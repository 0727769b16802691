"""Tools, calls and templates that the tests of the dialects share, and what is done with them: render, cut, parse, check a grammar."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer
from llguidance._tokenizer import TokenizerWrapper

from pomona.core.generation import ReasoningDelta, TextDelta, ToolCallDelta, ToolCallFinished, ToolCallStarted
from pomona.core.messages import Message, TextPart, ToolCall, ToolDefinition
from pomona.text.templates import ChatTemplate, Conversation
from pomona.text.tools.dialect import CallParser, Dialect, Marks, Piece

FOLDER = Path(__file__).parents[4] / "data" / "chat_templates"
ASKED = "What is it?"
PROPERTIES: Mapping[str, object] = {
    "text": {"type": "string", "description": "Any text."},
    "count": {"type": "integer", "description": "How many."},
    "ratio": {"type": "number", "description": "How much."},
    "flag": {"type": "boolean", "description": "Whether."},
    "nothing": {"type": "null", "description": "Nothing."},
    "options": {"type": "object", "description": "More."},
    "items": {"type": "array", "description": "Many.", "items": {}},
}
WRITE = ToolDefinition(name="write_file", description="Write.", parameters={"type": "object", "properties": PROPERTIES})
LIST = ToolDefinition(name="list_files", description="List.", parameters={"type": "object", "properties": {}})
NEEDY = ToolDefinition(
    name="find",
    description="Find.",
    parameters={
        "type": "object",
        "properties": {
            "words": {"type": "string", "description": "What."},
            "order": {"type": "string", "enum": ["up", "down"], "description": "How."},
            "limit": {"type": "integer", "minimum": 1, "maximum": 9, "description": "Most."},
        },
        "required": ["words", "limit"],
    },
)
TOOLS = (WRITE, LIST, NEEDY)

QUOTES = ("<escape>", '<|"|>')
"""Marks that stand for quotes in Gemma's notation, so no text can hold them. Hypothesis tries them, as it finds them in the code."""
strings = st.lists(
    st.one_of(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=8),
        st.sampled_from(
            [
                "<",
                ">",
                "&",
                "</",
                "</div>",
                "\n",
                "\n\n",
                '"',
                "'",
                "\\",
                "\\n",
                "é",
                "日本",
                "👩🏽‍💻",
                "null",
                "True",
                "{",
                "[1]",
                "a = f(x)",
            ]
        ),
    ),
    max_size=6,
).map("".join)
strings = strings.filter(lambda text: not any(quote in text for quote in QUOTES))
numbers = st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: number != 0 or str(number) == "0.0")
values = st.recursive(
    st.one_of(strings, st.integers(-(10**12), 10**12), numbers, st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(strings, inner, max_size=3)),
    max_leaves=6,
)
members: Mapping[str, st.SearchStrategy[object]] = {
    "text": strings,
    "count": st.integers(-(10**12), 10**12),
    "ratio": numbers,
    "flag": st.booleans(),
    "nothing": st.none(),
    "options": st.dictionaries(strings, values, max_size=3),
    "items": st.lists(values, max_size=3),
}


@dataclass(frozen=True)
class Made:
    """A call as the tests see it."""

    name: str
    arguments: Mapping[str, object]


@st.composite
def made_calls(draw: st.DrawFn, most: int = 2, values: Mapping[str, st.SearchStrategy[object]] = members) -> list[Made]:
    """One or more calls, their arguments in the order of the schema."""
    made: list[Made] = []
    for _ in range(draw(st.integers(1, most))):
        name = draw(st.sampled_from(["write_file", "write_file", "list_files"]))
        chosen = draw(st.sets(st.sampled_from(sorted(values)))) if name == "write_file" else set[str]()
        made.append(Made(name, {key: draw(values[key]) for key in PROPERTIES if key in chosen}))
    return made


def cuts(text: str) -> st.SearchStrategy[list[str]]:
    """`text` in pieces."""
    places = st.lists(st.integers(0, len(text)), max_size=12).map(sorted)
    return places.map(lambda found: [text[start:end] for start, end in zip([0, *found], [*found, len(text)], strict=True)])


@cache
def source(name: str) -> str:
    """A chat template."""
    return (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")


@cache
def _template(name: str) -> ChatTemplate:
    return ChatTemplate({"default": source(name)}, variables={"bos_token": "", "eos_token": "<EOS>"}, origin=name)


def turn(name: str, made: Sequence[Made], text: str, begins: str, ends: str) -> str:
    """What the template makes of an assistant's text and calls, between the last `begins` and the `ends` after it."""
    calls = [
        ToolCall(id=f"call0000{index}", name=call.name, arguments=json.dumps(call.arguments, ensure_ascii=False))
        for index, call in enumerate(made)
    ]
    said = Message(role="assistant", content=(TextPart(text=text),) if text else (), tool_calls=tuple(calls))
    asked = Message(role="user", content=(TextPart(text=ASKED),))
    rendered = _template(name).render(Conversation(messages=[asked, said], tools=TOOLS, options={}))
    _, _, answer = rendered.rpartition(ASKED)[2].partition(begins)
    return answer[: answer.rindex(ends)] if ends else answer


@dataclass(frozen=True)
class Read:
    """What a parser made of an answer. `cut` holds the names of calls that never finished."""

    text: str
    calls: list[Made]
    warnings: list[str]
    thought: str = ""
    cut: tuple[str, ...] = ()


def read(parser: CallParser, pieces: Sequence[str]) -> Read:
    """Feed a parser."""
    out = [found for piece in pieces for found in parser.push(piece)] + parser.finish()
    names, arguments, finished = _calls(out)
    return Read(
        text="".join(piece.text for piece in out if isinstance(piece, TextDelta)),
        calls=[Made(names[index], cast("dict[str, object]", json.loads(arguments[index]))) for index in finished],
        warnings=parser.warnings,
        thought="".join(piece.text for piece in out if isinstance(piece, ReasoningDelta)),
        cut=tuple(names[index] for index in names if index not in finished),
    )


def _calls(pieces: Sequence[Piece]) -> tuple[dict[int, str], dict[int, str], list[int]]:
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    finished: list[int] = []
    for piece in pieces:
        if isinstance(piece, ToolCallStarted):
            assert piece.index == len(names)
            names[piece.index], arguments[piece.index] = piece.name, ""
        elif isinstance(piece, ToolCallDelta):
            assert piece.index not in finished
            arguments[piece.index] += piece.arguments
        elif isinstance(piece, ToolCallFinished):
            finished.append(piece.index)
    return names, arguments, finished


class _Bytes:
    """A vocabulary of the 256 bytes, an end, and some special tokens."""

    def __init__(self, special: Sequence[str]) -> None:
        self.eos_token_id = 256
        self.bos_token_id = None
        self.tokens = [bytes([byte]) for byte in range(256)] + [b"<eos>"] + [token.encode() for token in special]
        self.special_token_ids = list(range(256, len(self.tokens)))

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


@cache
def _tokenizer(special: tuple[str, ...]) -> LLTokenizer:
    return LLTokenizer(TokenizerWrapper(_Bytes(special)))


def marks(special: Sequence[str] = ()) -> Marks:
    """How the vocabulary of the bytes and these tokens spells a mark."""

    def spell(text: str) -> str:
        return " ".join(f"<[{257 + special.index(part)}]>" if part in special else json.dumps(part) for part in _parts(text, special))

    return spell


def accepts(grammar: str, text: str, special: tuple[str, ...] = ()) -> bool:
    """Whether the grammar takes all of `text`, in which `special` are tokens, and may end there."""
    matcher = LLMatcher(_tokenizer(special), grammar, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    ids = list(_ids(text, special))
    return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


def _ids(text: str, special: Sequence[str]) -> Iterator[int]:
    for part in _parts(text, special):
        yield from [257 + special.index(part)] if part in special else part.encode()


def _parts(text: str, special: Sequence[str]) -> list[str]:
    """Special tokens and the text between them."""
    return [part for part in re.split(f"({'|'.join(map(re.escape, special))})", text) if part] if special else [text]


def grammar_of(dialect: Dialect, special: tuple[str, ...] = (), *, parallel: bool = True, tools: Sequence[ToolDefinition] = TOOLS) -> str:
    """The rules of enforced calls."""
    return dialect.calls(tools, marks(special), parallel)
