"""The input and the questions of a decision as text for a model."""

import json
from collections.abc import Sequence
from typing import TypeVar

from pomona.core.errors import InvalidRequest, UnsupportedField
from pomona.server.openai.decisions.wire import CALLS, DecisionRequest, Item, Part, Question

T = TypeVar("T")


def input_text(body: DecisionRequest) -> str:
    """What is judged, as one text: conversations become transcripts. Raises InvalidRequest and UnsupportedField."""
    if isinstance(body.input, str):
        return body.input
    return "\n\n".join(_item(item, f"input[{index}]") for index, item in enumerate(body.input))


def instructions_of(question: Question, index: int) -> str:
    """The text of a question."""
    text = _parts(question.instructions, f"questions[{index}].instructions")
    if not text.strip():
        path = f"questions[{index}].instructions"
        raise InvalidRequest(f"{path} is empty. Say what is to be judged.", param=path)
    return text


def options_of(question: Question, index: int) -> list[str]:
    """The options of a choice or a score as lines of text; none for a predicate. Raises InvalidRequest."""
    if question.type == "predicate":
        return []
    if question.type == "score":
        levels = _given(question.levels, index, "levels", "score")
        return [_line(level.label, level.description) for level in levels]
    choices = _given(question.choices, index, "choices", "choice")
    values = [(type(choice.value), choice.value) for choice in choices]
    double = next((value for place, value in enumerate(values) if value in values[:place]), None)
    if double is not None:
        path = f"questions[{index}].choices"
        raise InvalidRequest(f"{path} has the value {double[1]!r} twice. Every choice must be unique.", param=path)
    return [_line(json.dumps(choice.value) if isinstance(choice.value, bool) else choice.value, choice.description) for choice in choices]


def _given(options: Sequence[T] | None, index: int, field: str, kind: str) -> Sequence[T]:
    if options is None:
        path = f"questions[{index}].{field}"
        raise InvalidRequest(f"{path} is missing. A question of type {kind!r} needs at least 2.", param=path)
    return options


def _line(name: str, description: str | None) -> str:
    return f"{name}: {description}" if description else name


def _item(item: Item, path: str) -> str:
    content, output = (_parts(parts or "", f"{path}.{field}") for field, parts in (("content", item.content), ("output", item.output)))
    if item.type == "message":
        if item.role is None or item.content is None:
            raise InvalidRequest(f"{path} is a message and needs a role and content.", param=path)
        return f"[{item.role}]\n{content}"
    if item.call_id is None:
        raise InvalidRequest(f"{path} is of type {item.type!r} and needs a call_id.", param=path)
    if item.type in CALLS:
        return f"[call of {item.name or 'a tool'}]\n{item.arguments or item.input or ''}"
    return f"[result]\n{output}"


def _parts(parts: str | list[Part], path: str) -> str:
    if isinstance(parts, str):
        return parts
    return "\n".join(_part(part, f"{path}[{index}]") for index, part in enumerate(parts))


def _part(part: Part, path: str) -> str:
    if part.type == "input_image":
        raise UnsupportedField(f"{path}: this model takes no pictures. Send text or JSON parts only.", param=path)
    if part.type == "input_json":
        return json.dumps(part.data, ensure_ascii=False)
    text = part.refusal if part.type == "refusal" else part.text
    if text is None:
        raise InvalidRequest(f"{path} is of type {part.type!r} and has no text.", param=path)
    return text
