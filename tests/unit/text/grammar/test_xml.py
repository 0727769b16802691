"""XML from a schema, and back."""

import json
from typing import cast

import pytest

from pomona.core.generation import OutputFormat
from pomona.text.grammar.formats import grammar_of
from pomona.text.grammar.xml_reading import read_xml
from tests.unit.text.grammar.acceptance import accepts

ORDER: dict[str, object] = {
    "title": "order",
    "type": "object",
    "properties": {
        "note": {"type": "string", "maxLength": 20},
        "lines": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"code": {"type": "string", "pattern": "^[A-Z]{2}/\\d$"}, "count": {"type": "integer", "minimum": 1}},
                "required": ["code", "count"],
            },
        },
        "paid": {"type": ["boolean", "null"]},
        "rest": {"$ref": "#"},
        "price": {"type": "number"},
        "state": {"enum": ["<new>", "done", 3, None]},
        "mail": {"type": "string", "format": "email"},
    },
    "required": ["note"],
}
VALUES: list[object] = [
    {"note": ""},
    {"note": "a < b & c > d\n&amp;"},
    {"note": "é", "lines": [], "paid": None},
    {"note": "x", "lines": [{"code": "AB/1", "count": 2}, {"code": "CD/9", "count": 1}], "paid": True, "rest": {"note": "y"}},
    {"note": "x", "price": -1.5e3, "state": "<new>", "mail": "a@b.org"},
    {"note": "x", "state": 3},
    {"note": "x", "state": None},
]


def written(value: object, name: str, gap: str = "") -> str:
    """`value` in the form that the documentation describes."""
    if value is None:
        return f"<{name}/>"
    if isinstance(value, dict):
        content = "".join(gap + written(each, key, gap) for key, each in cast("dict[str, object]", value).items()) + gap
    elif isinstance(value, list):
        content = "".join(gap + written(each, "item", gap) for each in cast("list[object]", value)) + gap
    else:
        text = value if isinstance(value, str) else json.dumps(value)
        content = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<{name}>{content}</{name}>"


@pytest.mark.parametrize("gap", ["", "\n", "\n    "])
@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_written_accepted_and_read_back(value: object, gap: str) -> None:
    text = written(value, "order", gap)
    assert accepts(grammar_of(OutputFormat(kind="xml", source=json.dumps(ORDER))), text)
    assert read_xml(ORDER, text) == value


@pytest.mark.parametrize(
    "text",
    [
        "<order></order>",
        "<order><note>a & b</note></order>",
        '<order id="1"><note>x</note></order>',
        "<order><note>x</note><other>1</other></order>",
        "<order><note>x</note><lines><item><code>ab/1</code><count>1</count></item></lines></order>",
        "<order><note>x</note><lines><item><code>AB/1</code><count>0</count></item></lines></order>",
        "<order><note/></order>",
        "<order><note>x</note></order><order><note>x</note></order>",
        "<note>x</note>",
    ],
)
def test_other_texts_are_not_accepted(text: str) -> None:
    assert not accepts(grammar_of(OutputFormat(kind="xml", source=json.dumps(ORDER))), text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "<order>", "<order></note>", "<order><note/></order>", "<order>x<note>y</note></order>", "<order><x>1</x></order>"),
        *("<a></a>", "<order><note>x</note><paid>maybe</paid></order>", "<order><note>x</note><state>other</state></order>", "<x>" * 5000),
    ],
)
def test_what_is_not_of_the_form_is_not_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_xml(ORDER, text)


def test_an_answer_need_not_be_an_object() -> None:
    schema = {"type": "array", "items": {"type": "string"}, "maxItems": 2}
    made = grammar_of(OutputFormat(kind="xml", source=json.dumps(schema)))
    assert accepts(made, "<answer><item>a</item><item></item></answer>")
    assert not accepts(made, "<answer><item>a</item><item>b</item><item>c</item></answer>")
    assert read_xml(schema, "<answer><item>a</item></answer>") == ["a"]
