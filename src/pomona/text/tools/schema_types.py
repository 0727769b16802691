"""Which JSON types a value may have by its schema. Dialects whose values carry no quotes need to know."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from pomona.core.messages import ToolDefinition

Schema = Mapping[str, object]
TYPES = frozenset({"string", "number", "integer", "boolean", "null", "object", "array"})
ANYTHING: Schema = {}
DEPTH = 16
"""References and alternatives within each other that are followed; a schema that goes deeper may be anything."""


def tool_properties(tool: ToolDefinition) -> dict[str, Schema]:
    """The schema of each parameter, in the order in which the tool has them, references resolved at the first level."""
    return schemas_in(tool.parameters, tool.parameters)


def schemas_in(schema: Schema, root: Schema) -> dict[str, Schema]:
    """The schema of each property of an object."""
    properties = _mapping(resolve(schema, root).get("properties"))
    return {name: resolve(_mapping(inner), root) for name, inner in properties.items()}


def other_properties(tool: ToolDefinition) -> Schema | None:
    """The schema of parameters that have none of their own; None where there may be none."""
    parameters = resolve(tool.parameters, tool.parameters)
    other = parameters.get("additionalProperties", not parameters.get("properties"))
    return None if other is False else _mapping(other)


def required(schema: Schema) -> frozenset[str]:
    """The names of the properties that must be there."""
    return frozenset(name for name in _list(schema.get("required")) if isinstance(name, str))


def types_of(schema: Schema, root: Schema, depth: int = 0) -> frozenset[str]:
    """The types that a value may have; all where the schema does not say."""
    schema = resolve(schema, root)
    named = TYPES.intersection(name for name in (schema.get("type"), *_list(schema.get("type"))) if isinstance(name, str))
    if named:
        return named | {"null"} if schema.get("nullable") is True else named
    values = _list(schema["enum"]) if "enum" in schema else [schema["const"]] if "const" in schema else None
    if values is not None:
        return frozenset(type_of(value) for value in values)
    for word in ("anyOf", "oneOf", "allOf"):
        parts = [types_of(_mapping(part), root, depth + 1) for part in _list(schema.get(word))] if depth < DEPTH else []
        if parts:
            return _all(parts) if word == "allOf" else _any(parts)
    return frozenset({"object"}) if "properties" in schema else TYPES


def _all(parts: Sequence[frozenset[str]]) -> frozenset[str]:
    return frozenset(name for name in TYPES if all(name in part for part in parts))


def _any(parts: Sequence[frozenset[str]]) -> frozenset[str]:
    return frozenset(name for name in TYPES if any(name in part for part in parts))


def type_of(value: object) -> str:
    """The JSON type of a Python value."""
    names: list[tuple[type | tuple[type, ...], str]] = [
        (bool, "boolean"),
        (int, "integer"),
        (float, "number"),
        (str, "string"),
        ((list, tuple), "array"),
        (dict, "object"),
    ]
    return next((name for types, name in names if isinstance(value, types)), "null")


def resolve(schema: Schema, root: Schema) -> Schema:
    """The schema that a local reference such as `#/$defs/Place` means. One that leads nowhere may be anything."""
    for _ in range(DEPTH):
        target = schema.get("$ref")
        if not isinstance(target, str):
            return schema
        schema = _at(root, target)
    return ANYTHING


def with_definitions(schema: Schema, root: Schema) -> Schema:
    """A part of a schema that stands alone: the definitions that its references need go with it."""
    if "$ref" not in json.dumps(schema):
        return schema
    return {**{word: root[word] for word in ("$defs", "definitions") if word in root}, **schema}


def _at(root: Schema, target: str) -> Schema:
    if not target.startswith("#"):
        return ANYTHING
    found: object = root
    for name in _path(target):
        found = _mapping(found).get(name)
    return _mapping(found)


def _path(target: str) -> Iterator[str]:
    for name in target[1:].split("/"):
        if name:
            yield name.replace("~1", "/").replace("~0", "~")


def _mapping(value: object) -> Schema:
    return cast("Schema", value) if isinstance(value, Mapping) else ANYTHING


def _list(value: object) -> Sequence[object]:
    return cast("Sequence[object]", value) if isinstance(value, list | tuple) else ()
