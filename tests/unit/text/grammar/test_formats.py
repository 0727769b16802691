"""Each kind of format, and what is refused."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import pytest

from pomona.core.errors import InvalidRequest, UnsupportedField
from pomona.core.generation import OutputFormat
from pomona.text.grammar.formats import grammar_of
from tests.unit.text.grammar.acceptance import accepts

Kind = Literal["json_object", "json_schema", "regex", "choice", "lark", "xml"]


def grammar(kind: Kind, source: str = "") -> str:
    return grammar_of(OutputFormat(kind=kind, source=source, param="format"))


def refusal(kind: Kind, source: str) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        grammar(kind, source)
    assert caught.value.param
    assert len(caught.value.message) < 700
    return caught.value


ACCEPTED: list[tuple[Kind, str, list[str], list[str]]] = [
    ("json_object", "", ["{}", '{"a": 1, "b": [true, null]}', '{"a":{"b":"c"}}'], ["[]", "1", '"x"', "{", '{"a" : 1}']),
    ("json_schema", '{"type":"integer"}', ["1", "-20"], ["1.5", "true", ""]),
    ("json_schema", "true", ["1", "[]"], ["x"]),
    ("regex", "a/b[/]+|^c$", ["a/b/", "c"], ["xa/b/", "cc", ""]),
    ("regex", "[a&&b]+", ["a&b", "&&"], ["c"]),
    ("regex", r"\d{3}-\w+?", ["123-ab"], ["123-é", "12-a"]),
    ("regex", "a{,2}", ["a{,2}"], ["aa"]),
    ("choice", '["yes", "no", "say \\"no\\"", "é\\n"]', ["yes", "no", 'say "no"', "é\n"], ["y", "yesno", ""]),
    ("lark", 'start: word (", " word)*\nword: /[a-z]+/', ["a, b", "abc"], ["a,b", ""]),
]


@pytest.mark.parametrize(("kind", "source", "texts", "others"), ACCEPTED)
def test_a_format_is_met_by_its_texts_alone(kind: Kind, source: str, texts: list[str], others: list[str]) -> None:
    made = grammar(kind, source)
    assert [text for text in texts if not accepts(made, text)] == []
    assert [text for text in others if accepts(made, text)] == []


REFUSED: list[tuple[Kind, str, str, str]] = [
    ("json_schema", '{"type": "string"', "format", "is not JSON"),
    ("json_schema", '{"minimum": NaN}', "format", "NaN"),
    ("json_schema", '{"minimum": 1e999}', "format.minimum", "inf"),
    ("json_schema", "3", "format", "not a JSON Schema"),
    ("json_schema", '{"type": "text"}', "format.type", "'text'"),
    ("json_schema", '{"properties": {"age": {"type": "integer", "uniqueItems": 3}}}', "format.properties.age.uniqueItems", "true or false"),
    (
        "json_schema",
        '{"properties": {"l": {"type": "array", "uniqueItems": true}}}',
        "format.properties.l.uniqueItems",
        "cannot be enforced",
    ),
    ("json_schema", '{"items": {"pattern": "a(?=b)"}}', "format.items.pattern", "looking ahead"),
    ("json_schema", '{"anyOf": [{}, {"pattern": "\\\\bx"}]}', "format.anyOf.1.pattern", r"\\b"),
    ("json_schema", '{"properties": {"a": {"$ref": "#/$defs/none"}}}', "format.properties.a.$ref", "no such place"),
    ("json_schema", '{"$ref": "https://example.com/x"}', "format.$ref", "Nothing is fetched"),
    ("json_schema", '{"$ref": "#"}', "format", "without end"),
    ("json_schema", '{"properties": {"a": {"$ref": "#"}}, "required": ["a"], "type": "object"}', "format", "without end"),
    ("json_schema", '{"$schema": "https://example.com/dialect"}', "format.$schema", "drafts"),
    (
        "json_schema",
        '{"properties": {"a": {"type": "string", "minLength": 3, "maxLength": 2}}, "required": ["a"], "type": "object"}',
        "",
        "",
    ),
    ("json_schema", '{"properties": {"a": {"patternProperties": {"a": {}, "b": {}}}}}', "format.properties.a", "not disjoint"),
    ("json_schema", '{"oneOf": [{"type": "integer"}, {"minimum": 2}]}', "format.oneOf", "exclude each other"),
    ("json_schema", '{"enum": ["\\u0000"]}', "format.enum", "control character"),
    ("json_schema", '{"const": "\\ud800"}', "format", "surrogate"),
    ("json_schema", '{"type": "string", "pattern": "^a\\\\x01$"}', "format.pattern", "control character"),
    ("json_schema", '{"type": "string", "pattern": "[\\\\x00-\\\\x07]"}', "format.pattern", "control character"),
    ("json_schema", '{"patternProperties": {"^[\\\\x01\\\\x7f]$": {}}}', "format.patternProperties", "control character"),
    ("regex", "", "format", "empty"),
    ("regex", "(a", "format", "unclosed"),
    ("regex", "a**", "format", "repeats nothing"),
    ("regex", r"(a)\1", "format", "cannot be enforced"),
    ("regex", "a\ud800", "format", "surrogate"),
    ("choice", "[]", "format", "at least one"),
    ("choice", '["a", 1]', "format", "string"),
    ("choice", "yes", "format", "not JSON"),
    ("lark", "start: nothing", "format", "nothing"),
    ("lark", "", "format", "start"),
    ("lark", '{"grammars": []}', "format", "Lark"),
    ("lark", "start: <|im_end|>", "format", "tokens"),
    ("lark", "start: <[3]>", "format", "tokens"),
    ("lark", 'start: %json {"x-guidance": {"lenient": true}, "not": {}}', "format", "not"),
    ("xml", '{"type": "object"}', "format", "properties"),
    ("xml", '{"type": "object", "properties": {"a b": {}}}', "format.properties.a b", "name of an element"),
    ("xml", '{"type": "object", "properties": {"a": {"type": ["string", "integer"]}}}', "format.properties.a", "type"),
]


@pytest.mark.parametrize(("kind", "source", "param", "reason"), REFUSED)
def test_a_refusal_names_the_place_and_the_reason(kind: Kind, source: str, param: str, reason: str) -> None:
    error = refusal(kind, source)
    assert error.param is not None
    assert error.param == (param or error.param)
    assert reason in error.message


HOSTILE: list[tuple[Kind, str]] = [
    ("json_schema", "[" * 10_000),
    ("json_schema", '{"items":' * 10_000 + "true" + "}" * 10_000),
    ("json_schema", '{"items":' * 300 + "true" + "}" * 300),
    ("json_schema", '{"const":' + "[" * 300 + "]" * 300 + "}"),
    ("json_schema", json.dumps({"enum": ["x" * 300_000]})),
    ("json_schema", json.dumps({"minimum": 10**400})),
    ("json_schema", json.dumps({"properties": {str(each): {} for each in range(1001)}})),
    ("json_schema", json.dumps({"enum": list(range(2001))})),
    ("json_schema", '{"type": "array", "maxItems": 100000000}'),
    ("json_schema", '{"type": "string", "minLength": 100000000}'),
    ("json_schema", json.dumps({"allOf": [{"multipleOf": 9973}, {"multipleOf": 9967}], "type": "integer"})),
    (
        "json_schema",
        json.dumps({"type": "object", "allOf": [{"anyOf": [{"required": [f"a{n}"]}, {"required": [f"b{n}"]}]} for n in range(20)]}),
    ),
    ("regex", "a" * 1_000_000),
    ("regex", "(" * 5_000 + ")" * 5_000),
    ("regex", "(((((a{1000}){1000}){1000}){1000}){1000})"),
    ("lark", "start: /(((a{1000}){1000}){1000}){1000}/"),
    ("lark", "start: " + "(" * 5_000 + '"a"' + ")" * 5_000),
]


@pytest.mark.parametrize(("kind", "source"), HOSTILE, ids=range(len(HOSTILE)))
def test_what_would_take_too_long_is_refused(kind: Kind, source: str) -> None:
    refusal(kind, source)


def test_after_a_grammar_that_killed_its_judge_others_are_taken() -> None:
    chain = {str(n): {"items": {"$ref": f"#/$defs/{n + 1}"}} for n in range(1900)} | {"1900": {}}
    assert "references" in refusal("json_schema", json.dumps({"$ref": "#/$defs/0", "$defs": chain})).message
    assert accepts(grammar("regex", "after+"), "afterr")


def test_catastrophic_expressions_are_no_catastrophe() -> None:
    made = grammar("regex", "(a|a)*(a+)+b(a|b)*a(a|b){200}")
    assert not accepts(made, "a" * 100)


def test_threads_share_the_work() -> None:
    formats = [OutputFormat(kind="json_schema", source=json.dumps({"const": index % 4})) for index in range(32)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(grammar_of, formats))
    assert [accepts(source, str(index % 4)) for index, source in enumerate(made)] == [True] * 32
    assert grammar_of.cache_info().currsize <= 64


def test_the_keywords_of_other_drafts_are_read() -> None:
    tuple_of_draft_7 = json.dumps({"items": [{"type": "integer"}, {"type": "null"}], "additionalItems": False, "definitions": {}})
    made = grammar("json_schema", tuple_of_draft_7)
    assert accepts(made, "[1, null]")
    assert not accepts(made, "[1, null, 2]")
    flag_of_draft_4 = grammar("json_schema", '{"type": "integer", "minimum": 3, "exclusiveMinimum": true}')
    assert not accepts(flag_of_draft_4, "3")
    assert accepts(flag_of_draft_4, "4")


def test_no_key_of_an_open_object_is_a_known_one_in_disguise() -> None:
    made = grammar("json_schema", '{"type": "object", "properties": {"a": {"type": "integer"}}}')
    assert accepts(made, '{"a": 1, "b": "x"}')
    assert not accepts(made, r'{"a": 1, "\u0061": "x"}')


def test_a_closed_object_has_no_properties_but_its_own_unless_it_says_so() -> None:
    named = {"type": "object", "properties": {"a": {"type": "integer"}}}
    schemas = [named, {**named, "additionalProperties": True}]
    closed = [grammar_of(OutputFormat(kind="json_schema", source=json.dumps(each)), closed=True) for each in schemas]

    assert [accepts(each, '{"a": 1}') for each in closed] == [True, True]
    assert [accepts(each, '{"a": 1, "b": 2}') for each in closed] == [False, True]


def test_an_endless_alternative_is_taken_away_and_the_rest_stays() -> None:
    endless = {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/endless"}}
    schema = {"anyOf": [{"$ref": "#/$defs/endless"}, {"type": "integer"}], "$defs": {"endless": endless}}
    made = grammar("json_schema", json.dumps(schema))
    assert accepts(made, "3")
    assert not accepts(made, "[3]")


def test_an_unsupported_field_is_told_from_a_wrong_one() -> None:
    assert isinstance(refusal("json_schema", '{"format": "color"}'), UnsupportedField)
    assert not isinstance(refusal("json_schema", '{"format": 3}'), UnsupportedField)
