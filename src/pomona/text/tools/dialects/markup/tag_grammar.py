"""The grammar of calls written as tags, with values that fit the tools' schemas."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

from pomona.core.messages import ToolDefinition
from pomona.text.tools.dialect import Marks, Trigger
from pomona.text.tools.dialects.markup.tag_values import written_as
from pomona.text.tools.dialects.markup.tags import Tags
from pomona.text.tools.dialects.markup.text_patterns import ANY_TEXT, text_pattern
from pomona.text.tools.grammars import literal
from pomona.text.tools.literal_grammar import ANNOTATIONS, value_item
from pomona.text.tools.schema_types import Schema, required, resolve, tool_properties, types_of, with_definitions

LEAD = '("\\n" | "\\n\\n")?'
"""Templates put up to two new lines between a thought and what follows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The white space that a dialect's templates put between tags."""

    after_section: str = ""
    before_section_end: str = ""
    between: str = "\n"
    """Between calls, or between sections where each holds one call. It may be missing."""
    after_name: str = ""
    after_key: str = ""
    after_value: str = ""
    many_in_section: bool = False
    optional: bool = False
    """Versions of the dialect differ: each new line may be missing."""
    words: bool = False
    """Truth values and nothing are written as in Python, or as in JSON."""


def tag_grammar(tags: Tags, layout: Layout) -> Callable[[Sequence[ToolDefinition], Marks, bool], str]:
    """What makes the rules of `Dialect.calls`."""

    def calls(tools: Sequence[ToolDefinition], marks: Marks, parallel: bool) -> str:
        return "\n".join(_Grammar(tags, layout, marks).lines(tools, parallel=parallel))

    return calls


def tag_trigger(tags: Tags, layout: Layout) -> Callable[[Sequence[ToolDefinition], Marks, bool], Trigger]:
    """What makes `Dialect.trigger`: the same rules behind the first tag."""

    def trigger(tools: Sequence[ToolDefinition], marks: Marks, parallel: bool) -> Trigger:
        rules = "\n".join(_Grammar(tags, layout, marks).lines(tools, parallel=parallel, begun=True))
        return Trigger(mark=tags.section or tags.call, rules=rules)

    return trigger


@dataclass(frozen=True, slots=True)
class _Parameter:
    """One parameter of a tool. `param` names it in errors."""

    schema: Schema
    root: Schema
    strict: bool
    param: str


@dataclass(frozen=True, slots=True)
class _Grammar:
    tags: Tags
    layout: Layout
    marks: Marks
    values: dict[str, str] = field(default_factory=dict[str, str])
    """The names of rules by their bodies: values of one kind share a rule."""

    def lines(self, tools: Sequence[ToolDefinition], *, parallel: bool, begun: bool = False) -> Iterator[str]:
        """`begun`: the first tag has been written already."""
        tags, layout = self.tags, self.layout
        lead, first = ("", "") if begun else (LEAD, self._tag(tags.section or tags.call))
        more = f"{literal(layout.between)}?"
        if not tags.section:
            again = f" ({more} {self._tag(tags.call)} call)*" if parallel else ""
            yield f"start: {lead} {first} call{again}"
        elif layout.many_in_section:
            again = f" ({more} {self._tag(tags.call)} call)*" if parallel else ""
            yield f"start: {lead} {first} {self._opened()} call{again} {self._closing()}"
        else:
            again = f" ({more} {self._tag(tags.section)} section)*" if parallel else ""
            yield f"start: {lead} {first} section{again}"
            yield f"section: {self._opened()} call {self._closing()}"
        yield f"call: {' | '.join(f'call_{index}' for index in range(len(tools)))}"
        for index, tool in enumerate(tools):
            yield from self._tool(str(index), tool)

    def _opened(self) -> str:
        return f"{self._space(self.layout.after_section)} {self._tag(self.tags.call)}"

    def _closing(self) -> str:
        return f"{self._space(self.layout.before_section_end)} {self._tag(self.tags.section_end)}"

    def _tool(self, number: str, tool: ToolDefinition) -> Iterator[str]:
        tags, layout = self.tags, self.layout
        ends = tags.name_ends[0] if tags.name_ends and tags.name_ends[0].strip() else ""
        head = f"{literal(tool.name + ends)} {self._space(layout.after_name)}"
        needed = required(resolve(tool.parameters, tool.parameters))
        properties = list(tool_properties(tool).items())
        items = [f"pair_{number}_{place}{'' if name in needed else '?'}" for place, (name, _) in enumerate(properties)]
        yield f"call_{number}: {head} {' '.join(items)} {self._tag(tags.call_end)}"
        for place, (name, schema) in enumerate(properties):
            parameter = _Parameter(schema, tool.parameters, tool.strict, f"tools[{tool.name}].parameters.properties.{name}")
            yield from self._pair(f"{number}_{place}", name, parameter)

    def _pair(self, number: str, name: str, parameter: _Parameter) -> Iterator[str]:
        forms = [self._form(end, written, parameter) for end, written in self.tags.key_ends.items()]
        forms = [form for form in forms if form is not None]
        known = len(self.values)
        values = [self.values.setdefault(body, f"value_{len(self.values)}") for _, body in forms]
        pairs = [f"{self._key(name, end)} {value}" for (end, _), value in zip(forms, values, strict=True)]
        yield f"pair_{number}: ({' | '.join(pairs)}) {self._space(self.layout.after_value)}"
        yield from (f"{value}{body}" for body, value in list(self.values.items())[known:])

    def _key(self, name: str, end: str) -> str:
        key = f"{self._tag(self.tags.key)} {literal(name)} {self._tag(end)}"
        return f"{key} {self._space(self.layout.after_key)} {self._tag(self.tags.value)}"

    def _form(self, end: str, written: str, parameter: _Parameter) -> tuple[str, str] | None:
        """One way of writing the value, the end of the key that goes with it, or nothing where the schema has no such values."""
        types = types_of(parameter.schema, parameter.root)
        if (written == "text" and "string" not in types) or (written == "json" and not types - {"string"}):
            return None
        return end, self._value(parameter, written_as(written, types))

    def _value(self, parameter: _Parameter, types: frozenset[str]) -> str:
        """The body of a rule for a value and its end, pads included."""
        pad = literal(self.tags.pad)
        ending = f"{pad} {self._tag(self.tags.value_end)}"
        if "string" not in types:
            return f": {pad} ({self._json(parameter, types)}) {ending}"
        choices = _choices(parameter.schema)
        if choices is not None:
            return f": {pad} ({' | '.join(literal(choice) or '()' for choice in choices)}) {ending}"
        text = text_pattern(parameter.schema, parameter.param, strict=parameter.strict) if not types - {"string"} else ANY_TEXT
        if "<[" not in ending:
            return f"[lazy]: /{_pattern(self.tags.pad)}{text}{_pattern(self.tags.pad + self.tags.value_end)}/"
        return f": {pad} {self._text_to_token(text)} {ending}"

    def _text_to_token(self, text: str) -> str:
        """Text up to an end that is a token, or has one in it behind a character that text may have too."""
        before = self.tags.value_end.partition(self.tags.token)[0] if self.tags.token else ""
        return f'(/[^{before[0]}]+/ | "{before[0]}")*' if before else f"/{text}/"

    def _json(self, parameter: _Parameter, types: frozenset[str]) -> str:
        schema = {key: value for key, value in with_definitions(parameter.schema, parameter.root).items() if key not in ANNOTATIONS}
        items = [value_item(schema or {"type": sorted(types)}, parameter.param, strict=parameter.strict)]
        if parameter.schema.get("nullable") is True:
            items.append('"null"')
        if self.layout.words and "enum" not in schema:
            items += ['"True" | "False"'] * ("boolean" in types) + ['"None"'] * ("null" in types)
        return " | ".join(items)

    def _tag(self, tag: str) -> str:
        if not tag or not self.tags.token or self.tags.token not in tag:
            return self.marks(tag) if tag else ""
        token = self.marks(self.tags.token)
        if not token.startswith("<["):
            return literal(tag)
        before, _, after = tag.partition(self.tags.token)
        return " ".join([*map(literal, before), token, literal(after)])

    def _space(self, space: str) -> str:
        return f"{literal(space)}{'?' if self.layout.optional else ''}" if space else ""


def _choices(schema: Schema) -> list[str] | None:
    """The texts that an enumeration allows."""
    values: object = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if not isinstance(values, list):
        return None
    return [value if isinstance(value, str) else json.dumps(value) for value in cast("list[object]", values)]


def _pattern(text: str) -> str:
    """`text` within a regular expression of a Lark grammar."""
    return re.escape(text).replace("\n", "n").replace("/", "\\/").replace("\\<", "<").replace("\\>", ">")
