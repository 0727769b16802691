"""Gemma 4 and FunctionGemma: `call:f{key:value}` between marks, keys without quotes, strings between marks of their own."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from pomona.core.messages import ToolCall, ToolDefinition
from pomona.text.tools.calls import Calls
from pomona.text.tools.dialect import CallParser, Dialect, Marks, Trigger
from pomona.text.tools.grammars import literal
from pomona.text.tools.literal_grammar import LiteralGrammar, Spelling
from pomona.text.tools.literals import Notation, members
from pomona.text.tools.schema_types import resolve
from pomona.text.tools.walking import MalformedCall, Reader, Steps, WalkingParser, start_call, walk_marks

BEGIN = "call:"
LONGEST_NAME = 256
LEAD = '("\\n" | "\\n\\n")?'


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The marks of one generation of models."""

    begin: str
    end: str
    quote: str

    @property
    def notation(self) -> Notation:
        """How values are read. Models that forget the mark of a string write JSON's."""
        return Notation(quotes=(self.quote, '"'), bare_keys=True)


def _parser(form: Form) -> Callable[[Sequence[ToolDefinition]], CallParser]:
    def parser(tools: Sequence[ToolDefinition]) -> CallParser:
        def walk(reader: Reader, calls: Calls) -> Steps[None]:
            yield from walk_marks(reader, calls, (form.begin,), partial(_read_call, reader, calls, form))

        return WalkingParser(tools, walk)

    return parser


def _read_call(reader: Reader, calls: Calls, form: Form, _mark: str) -> Steps[None]:
    yield from reader.space()
    yield from reader.expect(BEGIN)
    name, _ = yield from reader.word("{")
    if len(name) > LONGEST_NAME:
        raise MalformedCall
    if not start_call(reader, calls, name):
        return

    def give(text: str) -> None:
        calls.arguments(text)
        reader.begin()

    give("{")
    yield from members(reader, give, form.notation, "}")
    give("}")
    calls.end()
    yield from reader.space()
    yield from reader.follows((form.end,))


def _spelling(form: Form, marks: Marks) -> Spelling:
    quote = marks(form.quote)
    is_token = quote.startswith("<[")
    text = f"{quote} /(?s:.+)/? {quote}" if is_token else "gemma_text"
    return Spelling(
        string=text,
        key="/[^:,{}\\[\\]\\n ]+/",
        write_string=lambda value: f"{quote} {literal(value)} {quote}",
        write_key=literal,
        true='"true"',
        false='"false"',
        null='("None" | "null")',
        comma='","',
        colon='":"',
        sorts_keys=True,
    )


def _lines(form: Form, tools: Sequence[ToolDefinition], marks: Marks, start: str) -> str:
    grammar = LiteralGrammar(_spelling(form, marks))
    lines = [f"start: {start}", f"call: {literal(BEGIN)} ({' | '.join(f'call_{index}' for index in range(len(tools)))}) {marks(form.end)}"]
    for index, tool in enumerate(tools):
        grammar.root = tool.parameters
        pairs = grammar.members(resolve(tool.parameters, tool.parameters), lambda name: literal(f"{name}:"))
        lines.append(f'call_{index}: {literal(tool.name)} "{{" {pairs} "}}"')
    if grammar.spelling.string == "gemma_text":
        pattern = json.dumps(form.quote)[1:-1].replace("|", "\\|").replace('\\"', '"')
        lines.append(f"gemma_text[lazy]: /{pattern}(?s:.*){pattern}/")
    return "\n".join([*lines, *grammar.rules])


def _calls(form: Form) -> Callable[[Sequence[ToolDefinition], Marks, bool], str]:
    def calls(tools: Sequence[ToolDefinition], marks: Marks, parallel: bool) -> str:
        more = f" ({marks(form.begin)} call)*" if parallel else ""
        return _lines(form, tools, marks, f"{LEAD} {marks(form.begin)} call{more}")

    return calls


def _trigger(form: Form) -> Callable[[Sequence[ToolDefinition], Marks, bool], Trigger]:
    def trigger(tools: Sequence[ToolDefinition], marks: Marks, parallel: bool) -> Trigger:
        more = f" ({marks(form.begin)} call)*" if parallel else ""
        return Trigger(mark=form.begin, rules=_lines(form, tools, marks, f"call{more}"))

    return trigger


def _written(form: Form) -> Callable[[Sequence[ToolCall]], str]:
    def written(calls: Sequence[ToolCall]) -> str:
        return "".join(f"{form.begin}{BEGIN}{call.name}{_arguments_written(form, call.arguments)}{form.end}" for call in calls)

    return written


def _arguments_written(form: Form, text: str) -> str:
    """What the model once wrote may be no JSON object; then it stands as it is."""
    try:
        arguments = cast("object", json.loads(text or "{}"))
    except ValueError:
        arguments = None
    return _value_written(form, cast("object", arguments)) if isinstance(arguments, dict) else f"{{{text}}}"


def _value_written(form: Form, value: object) -> str:
    if isinstance(value, str):
        return f"{form.quote}{value}{form.quote}"
    if isinstance(value, list):
        return f"[{','.join(_value_written(form, item) for item in cast('list[object]', value))}]"
    if isinstance(value, dict):
        pairs = sorted(cast("dict[str, object]", value).items(), key=lambda pair: pair[0].lower())
        return f"{{{','.join(f'{key}:{_value_written(form, inner)}' for key, inner in pairs)}}}"
    return json.dumps(value)


GEMMA_4_FORM = Form(begin="<|tool_call>", end="<tool_call|>", quote='<|"|>')
FUNCTION_GEMMA_FORM = Form(begin="<start_function_call>", end="<end_function_call>", quote="<escape>")
GEMMA_4 = Dialect(
    name="gemma",
    recognises=lambda source: GEMMA_4_FORM.begin in source,
    parser=_parser(GEMMA_4_FORM),
    calls=_calls(GEMMA_4_FORM),
    trigger=_trigger(GEMMA_4_FORM),
    written=_written(GEMMA_4_FORM),
    visible=(GEMMA_4_FORM.begin, GEMMA_4_FORM.end, GEMMA_4_FORM.quote),
    stops=("<|tool_response>",),
)
FUNCTION_GEMMA = Dialect(
    name="function_gemma",
    recognises=lambda source: FUNCTION_GEMMA_FORM.begin in source,
    parser=_parser(FUNCTION_GEMMA_FORM),
    calls=_calls(FUNCTION_GEMMA_FORM),
    trigger=_trigger(FUNCTION_GEMMA_FORM),
    written=_written(FUNCTION_GEMMA_FORM),
    visible=(FUNCTION_GEMMA_FORM.begin, FUNCTION_GEMMA_FORM.end, FUNCTION_GEMMA_FORM.quote),
    stops=("<start_function_response>",),
)
