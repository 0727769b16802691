"""Calls as Python writes them: `[f(a=1, b="x"), g()]`, with marks around the list (LFM2), without (Llama), or one in each line (OLMo 3)."""

import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from pomona.core.messages import ToolCall, ToolDefinition
from pomona.text.tools.calls import Calls
from pomona.text.tools.dialect import CallParser, Dialect, Marks, Trigger
from pomona.text.tools.grammars import literal as quoted_item
from pomona.text.tools.literal_grammar import LiteralGrammar, Spelling
from pomona.text.tools.literals import literal, quoted
from pomona.text.tools.schema_types import resolve, tool_properties
from pomona.text.tools.walking import MalformedCall, Reader, Steps, WalkingParser, json_call, start_call, walk_marks

NAME = re.compile(r"[\w.\-]{1,256}")
VALUE_BEGINS = "'\"[{(-+.0123456789TFNtfn"
LEAD = '("\\n" | "\\n\\n")?'
PYTHON = Spelling(
    string=r"""/'([^'\\\n]|\\.)*'/ | /"([^"\\\n]|\\.)*"/""",
    key=r"""(/'([^'\\\n]|\\.)*'/ | /"([^"\\\n]|\\.)*"/)""",
    write_string=lambda text: f"({quoted_item(repr(text))} | {quoted_item(_double_quoted(text))})",
    write_key=lambda name: f"({quoted_item(repr(name))} | {quoted_item(_double_quoted(name))})",
    true='("True" | "true")',
    false='("False" | "false")',
    null='("None" | "null")',
    comma='", "',
    colon='": "',
)


def _double_quoted(text: str) -> str:
    return f'"{quoted(text)}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What stands around the calls of one family."""

    begin: str
    end: str
    listed: bool = True
    """Calls stand in a list; else each in its own line."""
    bare: bool = False
    """Models write no marks."""

    @property
    def between(self) -> str:
        """What stands between two calls."""
        return ", " if self.listed else "\n"


def _parser(form: Form) -> Callable[[Sequence[ToolDefinition]], CallParser]:
    """A list counts behind the first mark, and without one where it begins with the call of a tool."""

    def parser(tools: Sequence[ToolDefinition]) -> CallParser:
        known = {tool.name: tool for tool in tools}
        opens = (form.begin, *(f"[{name}(" for name in known))

        def walk(reader: Reader, calls: Calls) -> Steps[None]:
            yield from walk_marks(reader, calls, opens, partial(_read_calls, reader, calls, known, form))

        return WalkingParser(tools, walk)

    return parser


def _read_calls(reader: Reader, calls: Calls, tools: Mapping[str, ToolDefinition], form: Form, mark: str) -> Steps[None]:
    if mark != form.begin:
        reader.put_back(mark[1:])
        listed = True
    else:
        yield from reader.space()
        listed = (yield from reader.follows(("[",))) is not None
    while True:
        yield from reader.space()
        if not (yield from _read_any(reader, calls, tools)):
            return
        reader.begin()
        if not (yield from _another_follows(reader, form, listed=listed)):
            return


def _another_follows(reader: Reader, form: Form, *, listed: bool) -> Steps[bool]:
    """Read over what stands between two calls, or over the end of them."""
    yield from reader.space()
    mark = yield from reader.follows((",", "]", form.end) if listed else (",", form.end))
    if mark == "]":
        yield from reader.space()
        yield from reader.follows((form.end,))
    if mark is None and not listed and not form.listed:
        return bool(NAME.match((yield from reader.peek())))
    return mark == ","


def _read_any(reader: Reader, calls: Calls, tools: Mapping[str, ToolDefinition]) -> Steps[bool]:
    """One call: Python's, or a JSON object, which LFM2 writes where it was asked to."""
    if (yield from reader.peek()) == "{":
        return (yield from json_call(reader, calls))
    name = yield from _word(reader)
    yield from reader.expect("(")
    yield from reader.space()
    ended = (yield from reader.follows((")",))) is not None
    keyword = None if ended else (yield from _keyword(reader))
    if not NAME.fullmatch(name) or not (ended or keyword or (yield from reader.peek()) in VALUE_BEGINS):
        raise MalformedCall
    if not start_call(reader, calls, name):
        return False
    if ended:
        calls.arguments("{}")
    else:
        yield from _read_arguments(reader, calls, tools[calls.name_of(name) or name], keyword)
    calls.end()
    return True


def _read_arguments(reader: Reader, calls: Calls, tool: ToolDefinition, keyword: str | None) -> Steps[None]:
    """From the first value, or the keyword before it, to `)`. A value without one means the parameter at its place."""

    def give(text: str) -> None:
        calls.arguments(text)
        reader.begin()

    names = list(tool_properties(tool))
    for place in itertools.count():
        if keyword is None and place >= len(names):
            raise MalformedCall
        give(f'{", " if place else "{"}"{quoted(names[place] if keyword is None else keyword)}": ')
        yield from literal(reader, give)
        yield from reader.space()
        end = yield from reader.expect(",", ")")
        yield from reader.space()
        if end == ")" or (yield from reader.follows((")",))) is not None:
            give("}")
            return
        keyword = yield from _keyword(reader)


def _keyword(reader: Reader) -> Steps[str | None]:
    """A name and `=`, if they come next."""
    word = yield from _word(reader)
    if not word:
        return None
    while not reader.rest.strip() and not reader.ended:
        yield
    behind = reader.rest.lstrip()
    if behind.startswith("="):
        reader.take(len(reader.rest) - len(behind) + 1)
        return word
    reader.put_back(word)
    return None


def _word(reader: Reader) -> Steps[str]:
    word = ""
    while True:
        character = yield from reader.peek()
        if not character:
            yield from reader.more()
        elif not (character.isalnum() or character in "_.-") or len(word) > 256:
            return word
        else:
            word += reader.take(1)


def _rules(tools: Sequence[ToolDefinition], start: str) -> str:
    lines = [f"start: {start}", f"call: {' | '.join(f'call_{index}' for index in range(len(tools)))}"]
    grammar = LiteralGrammar(PYTHON)
    for index, tool in enumerate(tools):
        grammar.root = tool.parameters
        members = grammar.members(resolve(tool.parameters, tool.parameters), lambda name: quoted_item(f"{name}="))
        lines.append(f'call_{index}: {quoted_item(tool.name)} "(" {members} ")"')
    return "\n".join([*lines, *grammar.rules])


def _calls(form: Form) -> Callable[[Sequence[ToolDefinition], Marks, bool], str]:
    def calls(tools: Sequence[ToolDefinition], marks: Marks, parallel: bool) -> str:
        begin, end = ("", "") if form.bare else (marks(form.begin), marks(form.end))
        return _rules(tools, f"{LEAD} {begin} {_several(form, parallel=parallel)} {end}")

    return calls


def _trigger(form: Form) -> Callable[[Sequence[ToolDefinition], Marks, bool], Trigger]:
    def trigger(tools: Sequence[ToolDefinition], marks: Marks, parallel: bool) -> Trigger:
        return Trigger(mark=form.begin, rules=_rules(tools, f"{_several(form, parallel=parallel)} {marks(form.end)}"))

    return trigger


def _several(form: Form, *, parallel: bool) -> str:
    several = f"call ({quoted_item(form.between)} call)*" if parallel else "call"
    return f'"[" {several} "]"' if form.listed else several


def _written(form: Form) -> Callable[[Sequence[ToolCall]], str]:
    def written(calls: Sequence[ToolCall]) -> str:
        several = form.between.join(_call_written(call) for call in calls)
        begin, end = ("", "") if form.bare else (form.begin, form.end)
        return f"{begin}[{several}]{end}" if form.listed else f"{begin}{several}{end}"

    return written


def _call_written(call: ToolCall) -> str:
    """What the model once wrote may be no JSON; then it stands as it is."""
    try:
        arguments = cast("object", json.loads(call.arguments or "{}"))
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        return f"{call.name}({call.arguments})"
    pairs = (f"{name}={_value_written(value)}" for name, value in cast("Mapping[str, object]", arguments).items())
    return f"{call.name}({', '.join(pairs)})"


def _value_written(value: object) -> str:
    if isinstance(value, str):
        return _double_quoted(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_value_written, cast('list[object]', value)))}]"
    if isinstance(value, dict):
        pairs = (f"{_double_quoted(key)}: {_value_written(inner)}" for key, inner in cast("dict[str, object]", value).items())
        return f"{{{', '.join(pairs)}}}"
    return repr(value)


LFM_FORM = Form(begin="<|tool_call_start|>", end="<|tool_call_end|>")
LFM2 = Dialect(
    name="lfm2",
    recognises=lambda source: any(sign in source for sign in (LFM_FORM.begin, "<|tool_list_start|>", '"List of tools: ')),
    parser=_parser(LFM_FORM),
    calls=_calls(LFM_FORM),
    trigger=_trigger(LFM_FORM),
    visible=(LFM_FORM.begin, LFM_FORM.end),
    written=_written(LFM_FORM),
)
LLAMA_FORM = Form(begin="<|python_start|>", end="<|python_end|>", bare=True)
LLAMA_PYTHONIC = Dialect(
    name="llama_pythonic",
    recognises=lambda source: re.search(r"\[\s*func_name1?\(", source) is not None,
    parser=_parser(LLAMA_FORM),
    calls=_calls(LLAMA_FORM),
    visible=(LLAMA_FORM.begin, LLAMA_FORM.end),
    stops=("<|eom_id|>", "<|eom|>"),
    written=_written(LLAMA_FORM),
)
OLMO_FORM = Form(begin="<function_calls>", end="</function_calls>", listed=False)
OLMO = Dialect(
    name="olmo",
    recognises=lambda source: OLMO_FORM.begin in source,
    parser=_parser(OLMO_FORM),
    calls=_calls(OLMO_FORM),
    trigger=_trigger(OLMO_FORM),
    visible=(OLMO_FORM.begin, OLMO_FORM.end),
    written=_written(OLMO_FORM),
)
