"""Calls as Python writes them: `[f(a=1, b='x'), g()]`, with marks around the list (LFM2) or none (Llama 3.2 and 4)."""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from pomona.core.messages import ToolDefinition
from pomona.text.tools.calls import Calls
from pomona.text.tools.dialect import CallParser, Dialect, Marks, Trigger
from pomona.text.tools.grammars import literal as quoted_item
from pomona.text.tools.json_calls import JsonCall
from pomona.text.tools.literal_grammar import LiteralGrammar, Spelling
from pomona.text.tools.literals import literal, quoted
from pomona.text.tools.schema_types import resolve, tool_properties
from pomona.text.tools.walking import MalformedCall, Reader, Steps, WalkingParser, start_call, walk_marks

LFM_MARKS = ("<|tool_call_start|>", "<|tool_call_end|>")
LLAMA_MARKS = ("<|python_start|>", "<|python_end|>")
NAME = re.compile(r"[\w.\-]{1,256}")
VALUE_BEGINS = "'\"[{(-+.0123456789TFNtfn"
LEAD = '("\\n" | "\\n\\n")?'
PYTHON = Spelling(
    string=r"""/'([^'\\\n]|\\.)*'/ | /"([^"\\\n]|\\.)*"/""",
    key=r"""(/'([^'\\\n]|\\.)*'/ | /"([^"\\\n]|\\.)*"/)""",
    write_string=lambda text: f"({quoted_item(repr(text))} | {quoted_item(_double_quoted(text))})",
    write_key=lambda name: f"({quoted_item(repr(name))} | {quoted_item(_double_quoted(name))})",
    true='"True"',
    false='"False"',
    null='"None"',
    comma='", "',
    colon='": "',
)


def _double_quoted(text: str) -> str:
    return f'"{quoted(text)}"'


def _parser(marks: tuple[str, str]) -> Callable[[Sequence[ToolDefinition]], CallParser]:
    """A list counts behind the first mark, and without one where it begins with the call of a tool."""

    def parser(tools: Sequence[ToolDefinition]) -> CallParser:
        known = {tool.name: tool for tool in tools}
        opens = (marks[0], *(f"[{name}(" for name in known))

        def walk(reader: Reader, calls: Calls) -> Steps[None]:
            yield from walk_marks(reader, calls, opens, partial(_read_list, reader, calls, known, marks))

        return WalkingParser(tools, walk)

    return parser


def _read_list(reader: Reader, calls: Calls, tools: Mapping[str, ToolDefinition], marks: tuple[str, str], mark: str) -> Steps[None]:
    if mark == marks[0]:
        yield from reader.space()
        listed = (yield from reader.follows(("[",))) is not None
    else:
        reader.put_back(mark[1:])
        listed = True
    while True:
        yield from reader.space()
        if not (yield from _read_any(reader, calls, tools)):
            return
        reader.begin()
        yield from reader.space()
        if (yield from reader.follows((",", "]") if listed else ())) != ",":
            break
    yield from reader.space()
    yield from reader.follows((marks[1],))


def _read_any(reader: Reader, calls: Calls, tools: Mapping[str, ToolDefinition]) -> Steps[bool]:
    """One call: Python's, or a JSON object, which LFM2 writes where it was asked to."""
    if (yield from reader.peek()) == "{":
        return (yield from _read_json(reader, calls))
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


def _read_json(reader: Reader, calls: Calls) -> Steps[bool]:
    call = JsonCall(calls, reader.read)
    while True:
        rest = call.push(reader.take(len(reader.rest)))
        reader.put_back(rest)
        reader.begin()
        if call.done or call.failed:
            return call.done
        if reader.ended:
            call.cut()
            return False
        yield


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
    spaces = len(reader.rest) - len(reader.rest.lstrip())
    if (yield from reader.peek(spaces + 1))[spaces:] == "=":
        reader.take(spaces + 1)
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


def _list(parallel: bool) -> str:
    more = '(", " call)*' if parallel else ""
    return f'"[" call {more} "]"'


def _lfm_calls(tools: Sequence[ToolDefinition], marks: Marks, parallel: bool) -> str:
    return _rules(tools, f"{LEAD} {marks(LFM_MARKS[0])} {_list(parallel)} {marks(LFM_MARKS[1])}")


def _lfm_trigger(tools: Sequence[ToolDefinition], marks: Marks, parallel: bool) -> Trigger:
    return Trigger(mark=LFM_MARKS[0], rules=_rules(tools, f"{_list(parallel)} {marks(LFM_MARKS[1])}"))


def _llama_calls(tools: Sequence[ToolDefinition], marks: Marks, parallel: bool) -> str:
    _ = marks
    return _rules(tools, f"{LEAD} {_list(parallel)}")


LFM2 = Dialect(
    name="lfm2",
    recognises=lambda source: any(mark in source for mark in (LFM_MARKS[0], "<|tool_list_start|>", '"List of tools: ')),
    parser=_parser(LFM_MARKS),
    calls=_lfm_calls,
    trigger=_lfm_trigger,
    visible=LFM_MARKS,
)
LLAMA_PYTHONIC = Dialect(
    name="llama_pythonic",
    recognises=lambda source: re.search(r"\[\s*func_name1?\(", source) is not None,
    parser=_parser(LLAMA_MARKS),
    calls=_llama_calls,
    visible=LLAMA_MARKS,
)
