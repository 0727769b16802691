"""`oneOf` as `anyOf`, where no value can fit two members.

That is sure where members have other types, other constants, numbers in other ranges, or a property, required in one of them at
least, whose schemas in both exclude each other: the case of every tagged union.
"""

import math
from collections.abc import Callable
from typing import cast

from pomona.text.grammar.rewriting.parts import TYPES, Schema

_DEEPEST = 16
"""References and levels that are followed to tell two schemas apart."""
_MOST_PAIRS = 5_000


class Alternatives:
    """Makes every `oneOf` of a rewritten document an `anyOf`. `overlap` is told each one whose members may meet."""

    def __init__(self, definitions: dict[str, Schema], overlap: Callable[[dict[str, object], int, int], None]) -> None:
        self._definitions = definitions
        self._overlap = overlap

    def settle(self, schema: Schema) -> None:
        """In place, within `schema` too."""
        if isinstance(schema, bool):
            return
        if "oneOf" in schema:
            options = cast("list[Schema]", schema.pop("oneOf"))
            self._check(schema, options)
            schema["anyOf"] = options
        for child in children(schema):
            self.settle(child)

    def _check(self, schema: dict[str, object], options: list[Schema]) -> None:
        pairs = ((first, second) for second in range(len(options)) for first in range(second))
        for count, (first, second) in enumerate(pairs):
            if count >= _MOST_PAIRS or not self._apart(options[first], options[second], _DEEPEST):
                self._overlap(schema, first, second)
                return

    def _apart(self, one: Schema, other: Schema, deep: int) -> bool:
        if one is False or other is False:
            return True
        if one is True or other is True or deep == 0:
            return False
        return (
            self._some_part_apart(one, other, deep)
            or self._some_part_apart(other, one, deep)
            or not _types(one) & _types(other)
            or _constants_apart(one, other)
            or self._same_type_apart(one, other, deep)
        )

    def _some_part_apart(self, one: dict[str, object], other: Schema, deep: int) -> bool:
        if isinstance(reference := one.get("$ref"), str):
            return self._apart(self._definitions[reference.rpartition("/")[2]], other, deep - 1)
        if any(self._apart(each, other, deep - 1) for each in cast("list[Schema]", one.get("allOf", []))):
            return True
        for keyword in ("anyOf", "oneOf"):
            options = cast("list[Schema]", one.get(keyword, []))
            if options and all(self._apart(each, other, deep - 1) for each in options):
                return True
        return False

    def _same_type_apart(self, one: dict[str, object], other: dict[str, object], deep: int) -> bool:
        """Types that both may have, each on its own."""
        both = _types(one) & _types(other)
        if both <= {"number"}:
            return _below(one, other) or _below(other, one)
        if both != {"object"}:
            return False
        needed = [*cast("list[str]", one.get("required", [])), *cast("list[str]", other.get("required", []))]
        return any(self._apart(_property(one, name), _property(other, name), deep - 1) for name in needed)


def children(schema: dict[str, object]) -> list[Schema]:
    """The schemas directly within a rewritten one."""
    found = [schema[keyword] for keyword in ("additionalProperties", "items") if keyword in schema]
    for keyword in ("properties", "patternProperties"):
        found += cast("dict[str, object]", schema.get(keyword, {})).values()
    for keyword in ("prefixItems", "allOf", "anyOf", "oneOf"):
        found += cast("list[object]", schema.get(keyword, []))
    return cast("list[Schema]", found)


def _property(schema: dict[str, object], name: str) -> Schema:
    named = cast("dict[str, Schema]", schema.get("properties", {}))
    if name in named:
        return named[name]
    return True if "patternProperties" in schema else cast("Schema", schema.get("additionalProperties", True))


def _types(schema: dict[str, object]) -> set[str]:
    """Whole numbers are numbers."""
    value = schema.get("type", list(TYPES))
    names = {value} if isinstance(value, str) else set(cast("list[str]", value))
    if isinstance(values := schema.get("enum"), list):
        names &= {_type_of(each) for each in cast("list[object]", values)} | {"integer"}
        names -= set() if any(_type_of(each) == "number" for each in cast("list[object]", values)) else {"integer"}
    return {"number" if name == "integer" else name for name in names}


def _type_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _constants_apart(one: dict[str, object], other: dict[str, object]) -> bool:
    mine, yours = one.get("enum"), other.get("enum")
    if not isinstance(mine, list) or not isinstance(yours, list):
        return False
    return not any(_same(left, right) for left in cast("list[object]", mine) for right in cast("list[object]", yours))


def _same(left: object, right: object) -> bool:
    """Equal as JSON: false is not 0. Containers are taken for equal where Python does, which errs on the careful side."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return left == right


def _below(one: dict[str, object], other: dict[str, object]) -> bool:
    """Whether all numbers of `one` are less than those of `other`."""
    most = min(cast("float", one.get("maximum", math.inf)), cast("float", one.get("exclusiveMaximum", math.inf)))
    least = max(cast("float", other.get("minimum", -math.inf)), cast("float", other.get("exclusiveMinimum", -math.inf)))
    closed = one.get("exclusiveMaximum") != most and other.get("exclusiveMinimum") != least
    return most < least or (most == least and not closed and math.isfinite(most))
