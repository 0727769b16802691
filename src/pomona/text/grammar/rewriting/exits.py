"""Schemas that can end: a value that must hold a value of its own kind, and so on, has no end.

A model that enters such a schema never gets out. Alternatives of that sort are taken away; a schema that has no other is refused.
"""

from typing import cast

from pomona.text.grammar.rewriting.parts import Schema

Definitions = dict[str, Schema]
_NAMES = ("properties", "patternProperties")
_ONES = ("additionalProperties", "items")
_LISTS = ("prefixItems", "anyOf", "oneOf", "allOf")


def cut_endless(root: Schema, definitions: Definitions) -> Schema:
    """`root` without what cannot end, and `definitions` changed in place. False where nothing is left."""
    ending: set[str] = set()
    while found := {name for name, schema in definitions.items() if name not in ending and _ends(schema, ending)}:
        ending |= found
    for name in definitions:
        definitions[name] = _cut(definitions[name], ending) if name in ending else False
    return _cut(root, ending)


def _ends(schema: Schema, ending: set[str]) -> bool:
    """Whether `schema` has a finite value, if the definitions in `ending` have."""
    if isinstance(schema, bool):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.rpartition("/")[2] not in ending:
        return False
    if not all(_ends(each, ending) for each in _list(schema, "allOf")):
        return False
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema and not any(_ends(each, ending) for each in _list(schema, keyword)):
            return False
    types = schema.get("type", "null")
    others = {types} if isinstance(types, str) else set(cast("list[str]", types))
    if others - {"object", "array"}:
        return True
    return ("object" in others and _object_ends(schema, ending)) or ("array" in others and _array_ends(schema, ending))


def _object_ends(schema: dict[str, object], ending: set[str]) -> bool:
    named = _names(schema, "properties")
    needed = cast("list[str]", schema.get("required", []))
    return all(_ends(named[name], ending) if name in named else _may_end(schema, ending) for name in needed)


def _may_end(schema: dict[str, object], ending: set[str]) -> bool:
    patterns = _names(schema, "patternProperties").values()
    return any(_ends(each, ending) for each in [*patterns, cast("Schema", schema.get("additionalProperties", True))])


def _array_ends(schema: dict[str, object], ending: set[str]) -> bool:
    least = cast("int", schema.get("minItems", 0))
    prefix = _list(schema, "prefixItems")
    rest = [cast("Schema", schema.get("items", True))] if least > len(prefix) else []
    return all(_ends(each, ending) for each in [*prefix[:least], *rest])


def _cut(schema: Schema, ending: set[str]) -> Schema:
    """In place, so that what is known of a schema by its identity stays known."""
    if isinstance(schema, bool) or not _ends(schema, ending):
        return schema is True
    for keyword in _NAMES:
        if keyword in schema:
            schema[keyword] = {name: _cut(each, ending) for name, each in _names(schema, keyword).items()}
    for keyword in _ONES:
        if keyword in schema:
            schema[keyword] = _cut(cast("Schema", schema[keyword]), ending)
    for keyword in _LISTS:
        if keyword in schema:
            schema[keyword] = [_cut(each, ending) for each in _list(schema, keyword)]
    return schema


def _list(schema: dict[str, object], keyword: str) -> list[Schema]:
    return cast("list[Schema]", schema.get(keyword, []))


def _names(schema: dict[str, object], keyword: str) -> dict[str, Schema]:
    return cast("dict[str, Schema]", schema.get(keyword, {}))
