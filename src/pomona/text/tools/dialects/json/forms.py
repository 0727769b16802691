"""The forms that calls in JSON take, written down as data: how `FormParser` reads them, and how grammars and histories write them."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pomona.core.messages import ToolCall, ToolDefinition
from pomona.text.tools.dialect import CallParser, Dialect, Marks, Trigger
from pomona.text.tools.dialects.json.form_parser import FormParser, Reading
from pomona.text.tools.grammars import arguments_item, call_rules, starting


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """How a model writes calls: `first`, calls with `between` between them, `last`; a call is `begin`, `head`, arguments, `tail`, `end`.

    In `head`, %NAME% stands for the name; in `head` and `tail`, %ID% for an id of the form `id`, a Lark item. `perhaps` may precede `tail`.
    """

    head: str = '{"name": "%NAME%", "arguments": '
    tail: str = "}"
    perhaps: str = ""
    id: str = "/[A-Za-z0-9]{9}/"
    first: str = ""
    begin: str = ""
    between: str = ""
    end: str = ""
    last: str = ""


def dialect(
    name: str, recognises: Callable[[str], bool], reading: Reading, writing: Writing, *, mark: str = "", stops: Sequence[str] = ()
) -> Dialect:
    """The dialect of one form. `mark` begins calls that the model is free to make, where there is such a mark."""

    def parser(tools: Sequence[ToolDefinition]) -> CallParser:
        return FormParser(tools, reading)

    def calls(tools: Sequence[ToolDefinition], marks: Marks, parallel: bool) -> str:
        return _calls(writing, tools, marks, parallel)

    def trigger(tools: Sequence[ToolDefinition], marks: Marks, parallel: bool) -> Trigger:
        return Trigger(mark=mark, rules=_behind(mark, writing, tools, marks, parallel))

    return Dialect(
        name=name,
        recognises=recognises,
        parser=parser,
        calls=calls,
        trigger=trigger if mark else None,
        visible=(*reading.marks, mark) if mark else reading.marks,
        stops=tuple(stops),
        bare=reading.bare,
        written=lambda made: _written(writing, made),
    )


def _calls(writing: Writing, tools: Sequence[ToolDefinition], marks: Marks, parallel: bool) -> str:
    more = f"({_optional(writing.between, marks)} call)*" if parallel else ""
    return starting([_item(writing.first, marks), "call", more, _item(writing.last, marks)], _rules(writing, tools, marks, writing.begin))


def _behind(mark: str, writing: Writing, tools: Sequence[ToolDefinition], marks: Marks, parallel: bool) -> str:
    """What follows `mark`: the rest of the list that it begins, or the rest of one call."""
    if writing.first:
        more = f"({_optional(writing.between, marks)} call)*" if parallel else ""
        items = [_item(writing.first.removeprefix(mark), marks), "call", more, _item(writing.last, marks)]
        return starting(items, _rules(writing, tools, marks, writing.begin))
    return starting(["call"], _rules(writing, tools, marks, writing.begin.removeprefix(mark)))


def _rules(writing: Writing, tools: Sequence[ToolDefinition], marks: Marks, begin: str) -> str:
    def call(tool: ToolDefinition) -> str:
        opening = _with_id(f"{begin}{writing.head}".replace("%NAME%", tool.name), writing, marks)
        closing = _with_id(f"{writing.tail}{writing.end}", writing, marks)
        perhaps = f"({_with_id(writing.perhaps, writing, marks)})?" if writing.perhaps else ""
        return " ".join(item for item in (opening, arguments_item(tool), perhaps, closing) if item)

    return call_rules(tools, call)


def _with_id(text: str, writing: Writing, marks: Marks) -> str:
    return f" {writing.id} ".join(_item(piece, marks) for piece in text.split("%ID%", 1))


def _written(writing: Writing, calls: Sequence[ToolCall]) -> str:
    made = [_written_call(writing, call, index) for index, call in enumerate(calls)]
    return f"{writing.first}{writing.between.join(made)}{writing.last}"


def _written_call(writing: Writing, call: ToolCall, index: int) -> str:
    form = re.compile(writing.id.strip("/"))
    call_id = next((each for each in (call.id, str(index), f"{index:09d}") if form.fullmatch(each)), call.id)
    head, tail = (text.replace("%NAME%", call.name).replace("%ID%", call_id) for text in (writing.head, writing.tail))
    return f"{writing.begin}{head}{call.arguments or '{}'}{tail}{writing.end}"


def _item(text: str, marks: Marks) -> str:
    return marks(text) if text else ""


def _optional(between: str, marks: Marks) -> str:
    """White space between calls may be missing; a comma may not."""
    return "" if not between else f"({marks(between)})?" if between.isspace() else marks(between)
