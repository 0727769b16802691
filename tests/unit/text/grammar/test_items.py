"""Schemas as items of grammars, such as those of tool calls."""

import pytest

from pomona.core.errors import InvalidRequest, UnsupportedField
from pomona.text.grammar.schemas import json_item
from tests.unit.text.grammar.acceptance import accepts

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
    "required": ["city"],
}


def call(item: str) -> str:
    return f'start: "<call>" arguments "</call>"\narguments: {item}'


def test_arguments_fit_their_schema() -> None:
    made = call(json_item(WEATHER))
    assert accepts(made, '<call>{"city": "Oslo", "days": 3}</call>')
    assert accepts(made, '<call>{"city":"Oslo"}</call>')
    assert not accepts(made, '<call>{"city": "Oslo", "days": 0}</call>')
    assert not accepts(made, '<call>{"days": 1}</call>')


def test_arguments_that_are_not_named_are_not_made_up() -> None:
    assert not accepts(call(json_item(WEATHER)), '<call>{"city": "Oslo", "planet": "Mars"}</call>')
    assert accepts(call(json_item({**WEATHER, "additionalProperties": True})), '<call>{"city": "Oslo", "planet": "Mars"}</call>')


def test_objects_are_closed_where_they_alone_describe_a_value() -> None:
    parts = {"allOf": [{"properties": {"a": {"type": "integer"}}}, {"properties": {"b": {"$ref": "#/$defs/c"}}}], "type": "object"}
    schema = {**parts, "$defs": {"c": {"type": "object", "properties": {"d": {"type": "null"}}}}}
    made = call(json_item(schema))
    assert accepts(made, '<call>{"a": 1, "b": {"d": null}}</call>')
    assert not accepts(made, '<call>{"a": 1, "b": {"d": null, "e": 1}}</call>')


def test_no_schema_means_any_object() -> None:
    made = call(json_item({}))
    assert accepts(made, '<call>{"anything": [1, {"a": null}]}</call>')
    assert not accepts(made, "<call>1</call>")


def test_what_cannot_be_enforced_is_left_out_where_that_is_allowed() -> None:
    anything: dict[str, object] = {}
    schema: dict[str, object] = {
        "type": "object",
        "properties": {
            "list": {"type": "array", "uniqueItems": True, "items": {"type": "integer", "format": "int32"}},
            "color": {"type": "string", "format": "color", "pattern": "(?=x)"},
            "either": {"oneOf": [{"type": "string"}, {"maxLength": 2}]},
            "odd": {"type": "object", "patternProperties": {"a": anything, "b": anything}},
        },
    }
    made = call(json_item(schema))
    assert accepts(made, '<call>{"list": [1, 1], "color": "red", "either": "abc", "odd": {"ab": 1}}</call>')
    assert not accepts(made, '<call>{"list": ["1"]}</call>')
    assert not accepts(made, '<call>{"color": 1}</call>')
    with pytest.raises(UnsupportedField) as caught:
        json_item(schema, strict=True, param="tools.0.parameters")
    assert caught.value.param == "tools.0.parameters.properties.list.uniqueItems"


@pytest.mark.parametrize(
    "schema",
    [{"type": "nonsense"}, {"properties": 3}, {"not": {}}, {"$ref": "#/nowhere"}, {"enum": ["\ud800"]}, {"x": object()}],
)
def test_a_schema_that_is_none_still_gives_an_object(schema: dict[str, object]) -> None:
    assert accepts(call(json_item(schema)), '<call>{"a": 1}</call>')
    if schema != {"$ref": "#/nowhere"}:
        with pytest.raises(InvalidRequest):
            json_item(schema, strict=True)


def test_items_of_several_tools_stand_in_one_grammar() -> None:
    forecasts = {"type": "array", "items": {"$ref": "#/$defs/x"}, "$defs": {"x": WEATHER}}
    made = f"start: one | two\none: {json_item(WEATHER)}\ntwo: {json_item(forecasts)}"
    assert accepts(made, '{"city": "Oslo"}')
    assert accepts(made, '[{"city": "Oslo"}, {"city": "Rome"}]')
