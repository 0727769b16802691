"""Calls written as tags: `<function=f><parameter=k>value</parameter></function>` and its relatives, read as they come."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pomona.core.messages import ToolDefinition
from pomona.text.tools.calls import Calls
from pomona.text.tools.dialect import CallParser
from pomona.text.tools.dialects.markup.tag_values import Value, read_value, written_as
from pomona.text.tools.literals import quoted
from pomona.text.tools.schema_types import TYPES, other_properties, tool_properties, types_of
from pomona.text.tools.walking import CutCall, MalformedCall, NoCall, Reader, Steps, WalkingParser, json_call, start_call, walk_marks

LONGEST_NAME = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """The tags of a dialect. Sections hold calls, calls hold keys with values."""

    section: str = ""
    """Begins one or more calls; empty where each call stands alone."""
    section_end: str = ""
    call: str
    """Begins a call; its name follows."""
    name_ends: tuple[str, ...]
    """End a name. The first tag of a key and the end of the call do so too."""
    call_end: str
    key: str
    key_ends: Mapping[str, str]
    """What ends a key, and how its value is then written: `text`, `json` or, where only the schema tells, nothing."""
    value: str = ""
    """Begins a value, after the end of a key and white space."""
    value_end: str
    pad: str = ""
    """Stands around each value, once on each side, if at all."""
    token: str = ""
    """A special token that is part of the tags, where no tag is one of its own."""
    lone_calls: bool = True
    """A call without a section counts too, if its name is that of a tool: models forget the first tag."""

    @property
    def starts(self) -> tuple[str, ...]:
        """The tags that may begin a call."""
        starts = (self.section, self.call) if self.lone_calls else (self.section or self.call,)
        return tuple(tag for tag in starts if tag)


def tag_parser(tags: Tags) -> Callable[[Sequence[ToolDefinition]], CallParser]:
    """What makes parsers of this dialect."""

    def parser(tools: Sequence[ToolDefinition]) -> CallParser:
        known = {tool.name: tool for tool in tools}
        return WalkingParser(tools, lambda reader, calls: _walk(tags, known, reader, calls))

    return parser


def _walk(tags: Tags, tools: Mapping[str, ToolDefinition], reader: Reader, calls: Calls) -> Steps[None]:
    yield from walk_marks(reader, calls, tags.starts, partial(_read_from, _Walk(tags, tools, reader, calls)))


@dataclass(frozen=True, slots=True)
class _Walk:
    """What the reading of one answer needs."""

    tags: Tags
    tools: Mapping[str, ToolDefinition]
    reader: Reader
    calls: Calls


def _read_from(walk: _Walk, mark: str) -> Steps[None]:
    """The calls of a section, or one alone."""
    tags, reader = walk.tags, walk.reader
    if mark != tags.call or not tags.section:
        yield from reader.space()
        if (yield from reader.peek()) == "{":
            yield from _read_json(walk)
            return
    if mark == tags.section:
        yield from reader.expect(tags.call)
    going_on = yield from _read_call(walk, lone=mark == tags.call and bool(tags.section))
    while going_on and tags.section:
        yield from reader.space()
        if (yield from reader.follows((tags.section_end, tags.call))) != tags.call:
            return
        reader.begin(tags.call)
        going_on = yield from _read_call(walk, lone=False)


def _read_json(walk: _Walk) -> Steps[None]:
    """A JSON object as Hermes has it: models that saw both forms mix them up."""
    tags, reader = walk.tags, walk.reader
    if (yield from json_call(reader, walk.calls)):
        yield from reader.space()
        yield from reader.follows((tags.section_end or tags.call_end,))


def _read_call(walk: _Walk, *, lone: bool) -> Steps[bool]:
    """From the name to the end of the call. False where there is no such tool: what follows is text."""
    tags, reader, calls = walk.tags, walk.reader, walk.calls
    name = yield from _name(tags, reader)
    if lone and calls.name_of(name) is None:
        raise NoCall
    yield from reader.space()
    ends = (tags.key, tags.call_end)
    tag = yield from reader.follows(ends)
    if tag is None:
        raise CutCall if reader.ended and any(tag.startswith(reader.rest) for tag in ends) else NoCall if lone else MalformedCall
    if not start_call(reader, calls, name):
        return False
    tool = walk.tools[calls.name_of(name) or name]
    before = "{"
    while tag == tags.key:
        key, end = yield from reader.word(*tags.key_ends)
        _give(walk, f'{before}"{quoted(key)}": ')
        yield from _read_value(walk, tool, key, tags.key_ends[end])
        before = ", "
        yield from reader.space()
        tag = yield from reader.expect(tags.key, tags.call_end)
    _give(walk, "{}" if before == "{" else "}")
    calls.end()
    reader.begin()
    return True


def _name(tags: Tags, reader: Reader) -> Steps[str]:
    ends = (*tags.name_ends, tags.key, tags.call_end)
    name = ""
    while True:
        text, end = reader.until(ends)
        name += text
        if len(name) > LONGEST_NAME:
            raise MalformedCall
        if end is not None:
            if end not in tags.name_ends:
                reader.put_back(end)
            return name.strip()
        yield from reader.more()


def _read_value(walk: _Walk, tool: ToolDefinition, key: str, written: str) -> Steps[None]:
    tags, reader = walk.tags, walk.reader
    if tags.value:
        yield from reader.space()
        yield from reader.expect(tags.value)
    properties = tool_properties(tool)
    schema = properties.get(key, other_properties(tool))
    types = TYPES if schema is None else types_of(schema, tool.parameters)
    follows = tuple(tag for tag in (tags.key, tags.call_end, tags.section_end) if tag)
    value = Value(end=tags.value_end, pad=tags.pad, follows=follows, types=written_as(written, types))
    if not (yield from read_value(reader, value, partial(_give, walk))):
        walk.calls.warnings.append(f"The argument {key!r} of {tool.name!r} is not of the type that the tool wants; it is given as text.")


def _give(walk: _Walk, text: str) -> None:
    walk.calls.arguments(text)
    walk.reader.begin()
