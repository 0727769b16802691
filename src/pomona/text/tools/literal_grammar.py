"""Grammars of values outside JSON: Python's literals, Gemma's objects with bare keys. They follow a schema as far as a notation can."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import cast

from pomona.text.grammar.schemas import json_item
from pomona.text.tools.grammars import literal
from pomona.text.tools.schema_types import ANYTHING, Schema, required, resolve, schemas_in, types_of

NUMBER_WORDS = ("type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
ANNOTATIONS = frozenset({"title", "description", "default", "examples", "nullable", "$schema"})


def value_item(schema: Schema, param: str, *, strict: bool = False) -> str:
    """A Lark item for one JSON value that is not the whole of a call's arguments. Raises as `json_item` does."""
    return _value_item(json.dumps(schema), param if strict else "", strict)


@lru_cache(maxsize=4096)
def _value_item(schema: str, param: str, strict: bool) -> str:
    """Checking a schema takes milliseconds, and agents send dozens of tools with each request."""
    return json_item(json.loads(schema), strict=strict, param=param)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelling:
    """How a notation writes values, as Lark items."""

    string: str
    key: str
    """Any key of an object."""
    write_string: Callable[[str], str]
    """One string as a value."""
    write_key: Callable[[str], str]
    true: str
    false: str
    null: str
    comma: str
    colon: str
    sorts_keys: bool = False


@dataclass(slots=True)
class LiteralGrammar:
    """Collects the rules that the values of one grammar need. A schema has one rule, so schemas may contain themselves."""

    spelling: Spelling
    root: Schema = field(default_factory=dict[str, object])
    """Where references lead."""
    _names: dict[str, str] = field(default_factory=dict[str, str])
    _rules: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def rules(self) -> Iterator[str]:
        """The rules, as lines."""
        return (f"{name}: {body}" for name, body in self._rules.items())

    def value(self, schema: Schema) -> str:
        """The name of a rule for the values of `schema`."""
        schema = resolve(schema, self.root)
        return self._rule("value", json.dumps([schema, self._root_key(schema)]), lambda: " | ".join(self._forms(schema)))

    def members(self, schema: Schema, separator: Callable[[str], str]) -> str:
        """A rule for keys and values in the order of the schema. `separator` writes a key and what stands behind it."""
        needed = required(schema)
        properties = list(schemas_in(schema, self.root).items())
        if self.spelling.sorts_keys:
            properties.sort(key=lambda item: item[0].lower())
        pairs = [(f"{separator(name)} {self.value(value)}", name in needed) for name, value in properties]
        return self._chain(pairs)

    def _chain(self, pairs: Sequence[tuple[str, bool]]) -> str:
        """One rule for each place and for whether a comma is due there."""
        first, more = '""', '""'
        for pair, needed in reversed(pairs):
            after = more
            first_body = f"{pair} {after}" if needed else f"{pair} {after} | {first}"
            more_body = f"{self.spelling.comma} {pair} {after}" if needed else f"{self.spelling.comma} {pair} {after} | {after}"
            first, more = self._new("first", first_body), self._new("more", more_body)
        return first

    def _forms(self, schema: Schema) -> Iterator[str]:
        values: object = schema.get("enum", [schema["const"]] if "const" in schema else None)
        parts = [part for word in ("anyOf", "oneOf") for part in cast("Sequence[Schema]", schema.get(word) or ())]
        if isinstance(values, list):
            yield from (self._written(value) for value in cast("list[object]", values))
        elif parts:
            yield from (self.value(part) for part in parts)
        else:
            types = types_of(schema, self.root)
            yield from (self._of_type(name, schema) for name in sorted(types) if not (name == "integer" and "number" in types))

    def _of_type(self, name: str, schema: Schema) -> str:
        spelling = self.spelling
        if name in ("integer", "number"):
            return value_item({**{word: schema[word] for word in NUMBER_WORDS if word in schema}, "type": name}, "parameters")
        if name == "array":
            return self._array(schema)
        if name == "object":
            return self._object(schema)
        return {"string": spelling.string, "boolean": f"{spelling.true} | {spelling.false}"}.get(name, spelling.null)

    def _array(self, schema: Schema) -> str:
        items = schema.get("items")
        item = self.value(cast("Schema", items) if isinstance(items, Mapping) else ANYTHING)
        least, most = schema.get("minItems"), schema.get("maxItems")
        low = least if isinstance(least, int) else 0
        if isinstance(most, int) and most <= 0:
            return '"[" "]"'
        times = f"{{{max(low - 1, 0)},{most - 1 if isinstance(most, int) else ''}}}"
        filled = f"{item} ({self.spelling.comma} {item}){times}"
        return f'"[" {filled} "]"' if low else f'"[" ({filled})? "]"'

    def _object(self, schema: Schema) -> str:
        if schema.get("properties"):
            return f'"{{" {self.members(schema, self._key)} "}}"'
        other = schema.get("additionalProperties")
        if other is False:
            return '"{" "}"'
        value = self.value(cast("Schema", other) if isinstance(other, Mapping) else ANYTHING)
        pair = f"{self.spelling.key} {self.spelling.colon} {value}"
        return f'"{{" ({pair} ({self.spelling.comma} {pair})*)? "}}"'

    def _key(self, name: str) -> str:
        return f"{self.spelling.write_key(name)} {self.spelling.colon}"

    def _written(self, value: object) -> str:
        """One value as it stands."""
        spelling = self.spelling
        if value is None or isinstance(value, bool):
            return spelling.null if value is None else spelling.true if value else spelling.false
        if isinstance(value, str):
            return spelling.write_string(value)
        if isinstance(value, list):
            inner = f" {spelling.comma} ".join(self._written(item) for item in cast("list[object]", value))
            return f'"[" {inner} "]"'
        if isinstance(value, Mapping):
            pairs = [f"{self._key(str(key))} {self._written(item)}" for key, item in cast("Schema", value).items()]
            return f'"{{" {f" {spelling.comma} ".join(pairs)} "}}"'
        return literal(json.dumps(value))

    def _rule(self, kind: str, key: str, body: Callable[[], str]) -> str:
        if key not in self._names:
            self._names[key] = name = f"{kind}_{len(self._names)}"
            self._rules[name] = body()
        return self._names[key]

    def _new(self, kind: str, body: str) -> str:
        return self._rule(kind, body, lambda: body)

    def _root_key(self, schema: Schema) -> int:
        """Schemas with references mean something else under another root."""
        return id(self.root) if "$ref" in json.dumps(schema) else 0
