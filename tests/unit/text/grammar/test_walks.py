"""Random walks through grammars: whatever a model writes, the schema holds."""

import json
import re
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pomona.core.errors import InvalidRequest
from pomona.core.generation import OutputFormat
from pomona.text.grammar.formats import grammar_of
from pomona.text.grammar.xml_reading import read_xml
from tests.unit.text.grammar.acceptance import matches, walk

WALKS = 12
PERSON = {
    "title": "person",
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 12},
        "age": {"type": ["integer", "null"], "minimum": 0, "maximum": 130},
        "score": {"type": "number", "exclusiveMinimum": -1, "maximum": 1},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 4}, "minItems": 1, "maxItems": 3},
        "kind": {"enum": ["a<b", "c & d", 'say "e"', 7, None, True]},
        "active": {"type": "boolean"},
        "born": {"type": "string", "format": "date"},
        "friend": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
    },
    "required": ["name", "tags", "born"],
    "additionalProperties": False,
}
SCHEMAS: dict[str, object] = {
    "person": PERSON,
    "map": {
        "type": "object",
        "propertyNames": {"pattern": "^[a-z]{1,3}$"},
        "additionalProperties": {"type": "integer"},
        "minProperties": 1,
    },
    "open": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"const": "x"}}, "required": ["a"]},
    "tuple": {"type": "array", "prefixItems": [{"type": "integer", "multipleOf": 3}, {"enum": [[1, {"a": 2}], "z"]}], "items": False},
    "tagged union": {
        "oneOf": [{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}],
        "$defs": {
            "cat": {"type": "object", "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}}, "required": ["kind"]},
            "dog": {"type": "object", "properties": {"kind": {"const": "dog"}, "barks": {"type": "boolean"}}, "required": ["kind"]},
        },
    },
    "tree": {"type": "object", "properties": {"v": {"type": "null"}, "kids": {"type": "array", "items": {"$ref": "#"}}}, "required": ["v"]},
    "pattern": {"type": "string", "pattern": "^(\\d{3}-)?[\\w.]+@[^@\\s]{2,9}$|^x/y$", "maxLength": 30},
    "dependent": {
        "type": "object",
        "properties": {"card": {"type": "integer"}, "address": {"type": "string", "maxLength": 5}},
        "dependentRequired": {"card": ["address"]},
        "additionalProperties": False,
    },
    "all of": {"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 90}, {"multipleOf": 4}]},
    "bounds": {"type": "number", "minimum": 0.25, "exclusiveMaximum": 7.5},
    "big": {"type": "integer", "minimum": 2**60 + 1, "maximum": 2**60 + 10_000},
    "anything": True,
}
FORMATS = ("date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri", "json-pointer")


def valid(schema: object, value: object) -> bool:
    """By the reference implementation, formats included."""
    return Draft202012Validator(cast("bool", schema), format_checker=Draft202012Validator.FORMAT_CHECKER).is_valid(cast("bool", value))


def source(schema: object, kind: str = "json_schema") -> str:
    return grammar_of(OutputFormat(kind="xml" if kind == "xml" else "json_schema", source=json.dumps(schema)))


@pytest.mark.parametrize("name", SCHEMAS)
def test_whatever_is_written_fits_the_schema(name: str) -> None:
    grammar = source(SCHEMAS[name])
    written = [text for text in (walk(grammar, seed) for seed in range(WALKS)) if text is not None]
    assert written
    for text in written:
        assert valid(SCHEMAS[name], json.loads(text)), text


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_one_that_validators_know(name: str) -> None:
    assert name in Draft202012Validator.FORMAT_CHECKER.checkers
    schema = {"type": "string", "format": name}
    written = [text for text in (walk(source(schema), seed) for seed in range(WALKS)) if text is not None]
    assert written
    for text in written:
        assert valid(schema, json.loads(text)), text


def test_xml_reads_back_as_a_value_of_the_schema() -> None:
    grammar = source(PERSON, "xml")
    written = [text for text in (walk(grammar, seed) for seed in range(2 * WALKS)) if text is not None]
    assert len(written) > WALKS // 2
    for text in written:
        assert re.match(r"<person>", text)
        assert valid(PERSON, read_xml(PERSON, text)), text


Schemas = st.SearchStrategy[object]
names = st.sampled_from(["a", "b", "c"])
constants = st.lists(st.sampled_from(cast("list[object]", [1, 1.5, "x", None, True, [1], {"a": 1}])), min_size=1, max_size=3)
SCALARS: list[object] = [
    *({}, True, False, {"type": "null"}, {"type": "boolean"}, {"type": "string"}, {"type": ["string", "integer"]}),
    *({"pattern": "^[ab]+$"}, {"pattern": "b"}, {"multipleOf": 2}, {"not": {"type": "string"}}),
]


@st.composite
def scalars(draw: st.DrawFn) -> object:
    low, size = draw(st.integers(-3, 9)), draw(st.integers(-1, 9))
    numbers: object = {"type": "integer", "minimum": low, "maximum": low + size}
    strings: object = {"minLength": max(low, 0), "maxLength": max(low + size, 0)}
    return draw(st.sampled_from([numbers, strings, {"enum": draw(constants)}, *SCALARS]))


def containers(inner: Schemas) -> Schemas:
    return st.one_of(cast("Schemas", objects(inner)), cast("Schemas", arrays(inner)), unions(inner), in_two_ways(inner))


@st.composite
def objects(draw: st.DrawFn, inner: Schemas) -> dict[str, object]:
    members: dict[str, st.SearchStrategy[object]] = {
        "type": st.just("object"),
        "properties": cast("Schemas", st.dictionaries(names, inner, max_size=3)),
        "required": cast("Schemas", st.lists(names, max_size=2, unique=True)),
        "additionalProperties": inner,
        "patternProperties": cast("Schemas", st.dictionaries(st.sampled_from(["^a", "^[bc]$"]), inner, max_size=2)),
        "propertyNames": cast("Schemas", st.sampled_from([{"enum": ["a", "b", "x"]}, {"maxLength": 2}])),
        "minProperties": cast("Schemas", st.integers(0, 2)),
        "maxProperties": cast("Schemas", st.integers(0, 3)),
        "dependentRequired": cast("Schemas", st.dictionaries(names, st.lists(names, max_size=1), max_size=1)),
    }
    chosen = draw(st.lists(st.sampled_from(sorted(members)), unique=True, max_size=5))
    return {name: draw(members[name]) for name in chosen}


@st.composite
def arrays(draw: st.DrawFn, inner: Schemas) -> dict[str, object]:
    members: dict[str, st.SearchStrategy[object]] = {
        "items": inner,
        "prefixItems": cast("Schemas", st.lists(inner, min_size=1, max_size=2)),
        "minItems": cast("Schemas", st.integers(0, 2)),
        "maxItems": cast("Schemas", st.integers(0, 3)),
    }
    chosen = draw(st.lists(st.sampled_from(sorted(members)), unique=True))
    return {"type": "array", **{name: draw(members[name]) for name in chosen}}


@st.composite
def unions(draw: st.DrawFn, inner: Schemas) -> object:
    return {draw(st.sampled_from(["anyOf", "oneOf", "allOf"])): draw(st.lists(inner, min_size=1, max_size=3))}


@st.composite
def in_two_ways(draw: st.DrawFn, inner: Schemas) -> object:
    """A schema beside schemas for the same value."""
    return {**draw(objects(inner)), **cast("dict[str, object]", draw(unions(inner)))}


INSTANCES: list[object] = [
    *(None, True, 0, 4, 7, 1.5, "", "x", "ab", [], [1], [4, "x"], [None, True, 2], {}, {"a": 1}, {"b": "x"}, {"a": {"a": 1}, "b": [1]}),
    *({"a": 1.5, "b": None, "c": "ab"}, {"x": 1}, {"abc": True, "b": 4}),
]


def grammar_or_refusal(schema: object) -> str | InvalidRequest:
    try:
        return source(schema)
    except InvalidRequest as error:
        return error


@given(schema=st.recursive(scalars(), containers, max_leaves=6), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_any_schema_is_enforced_or_refused(schema: object, seed: int) -> None:
    grammar = grammar_or_refusal(schema)
    if isinstance(grammar, InvalidRequest):
        assert grammar.param
        return
    text = walk(grammar, seed, most=200)
    if text is not None:
        assert valid(schema, json.loads(text)), text
    for value in INSTANCES:
        assert matches(grammar, value) == valid(schema, value), value
