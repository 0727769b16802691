"""Functionary 3.2: messages behind `>>>`, each with its recipient in the first line: `all` or a tool. The prompt has the first `>>>`."""

from collections.abc import Sequence

from pomona.core.messages import ToolCall, ToolDefinition
from pomona.text.tools.calls import Calls
from pomona.text.tools.dialect import CallParser, Dialect, Marks
from pomona.text.tools.dialects.channels.json_body import arguments_follow, json_body
from pomona.text.tools.grammars import arguments_item, call_rules, literal
from pomona.text.tools.walking import Reader, Steps, WalkingParser, start_call, walk_call

MARK, EVERYONE = ">>>", "all"


def _parser(tools: Sequence[ToolDefinition]) -> CallParser:
    """Only lines that name a recipient begin a message: a text may have `>>>` in it."""
    recipients = tuple(f"{name}\n" for name in (EVERYONE, *(tool.name for tool in tools)))
    marks = tuple(f"{MARK}{recipient}" for recipient in recipients)

    def walk(reader: Reader, calls: Calls) -> Steps[None]:
        mark = yield from reader.follows((*recipients, *marks))
        while True:
            if mark is not None and mark.removeprefix(MARK) != recipients[0]:
                yield from walk_call(reader, calls, mark, _call(reader, calls, mark.removeprefix(MARK).strip()))
            text, mark = reader.until(marks)
            calls.text(text)
            reader.begin()
            if mark is None and reader.ended:
                return
            if mark is None:
                yield

    return WalkingParser(tools, walk)


def _call(reader: Reader, calls: Calls, name: str) -> Steps[None]:
    yield from arguments_follow(reader)
    if start_call(reader, calls, name):
        yield from json_body(reader, calls)


def _calls(tools: Sequence[ToolDefinition], marks: Marks, parallel: bool) -> str:
    _ = marks

    def call(tool: ToolDefinition) -> str:
        return " ".join((literal(tool.name + "\n"), arguments_item(tool)))

    more = f" ({literal(MARK)} call)*" if parallel else ""
    return f"start: call{more}\n{call_rules(tools, call)}"


def _written(calls: Sequence[ToolCall]) -> str:
    return "".join(f"{MARK}{call.name}\n{call.arguments or '{}'}" for call in calls)


FUNCTIONARY_RECIPIENTS = Dialect(
    name="functionary_recipients",
    recognises=lambda source: ">>>${recipient}" in source,
    parser=_parser,
    calls=_calls,
    written=_written,
    reads_thoughts=True,
)
