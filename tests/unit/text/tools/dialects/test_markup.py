"""Calls between tags: what the real templates write is read again, in any pieces, and is what the grammars enforce."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.core.errors import InvalidRequest
from pomona.core.generation import ToolCallDelta
from pomona.core.messages import ToolDefinition
from pomona.text.tools.dialect import Dialect
from pomona.text.tools.dialects.markup.dsml import DSML
from pomona.text.tools.dialects.markup.glm import GLM
from pomona.text.tools.dialects.markup.minimax import MINIMAX
from pomona.text.tools.dialects.markup.qwen3_coder import QWEN3_CODER, SEED
from tests.unit.text.tools.dialects.samples import (
    LIST,
    NEEDY,
    TOOLS,
    WRITE,
    Made,
    accepts,
    cuts,
    grammar_of,
    made_calls,
    marks,
    members,
    read,
    source,
    turn,
)


@dataclass(frozen=True)
class Family:
    """A template, the dialect that it speaks, and what stands around an answer in it."""

    template: str
    dialect: Dialect
    begins: str
    ends: str
    special: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.template


THOUGHT = "</think>"
FAMILIES = [
    Family("Qwen3-Coder", QWEN3_CODER, "<|im_start|>assistant\n", "<|im_end|>\n<|im_start|>", ("<tool_call>", "</tool_call>")),
    Family("Qwen3.5-4B", QWEN3_CODER, THOUGHT, "<|im_end|>\n<|im_start|>"),
    Family("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", QWEN3_CODER, THOUGHT, "\n<|im_end|>\n<|im_start|>"),
    Family("StepFun3.5-Flash", QWEN3_CODER, THOUGHT, "<|im_end|>\n<|im_start|>"),
    Family("ByteDance-Seed-OSS", SEED, "<seed:bos>assistant", "<seed:eos><seed:bos>"),
    Family("GLM-4.6", GLM, THOUGHT, "<|assistant|>"),
    Family("GLM-4.7-Flash", GLM, THOUGHT, "<|assistant|>", GLM.visible),
    Family("MiniMax-M2", MINIMAX, "]~b]ai", "[e~[\n]~b]ai", MINIMAX.visible),
    Family("deepseek-ai-DeepSeek-V3.2", DSML, THOUGHT, "<｜end▁of▁sentence｜>"),
    Family("deepseek-ai-DeepSeek-V3.2", DSML, THOUGHT, "<｜end▁of▁sentence｜>", DSML.visible),
]
each_family = pytest.mark.parametrize("family", FAMILIES, ids=str)


def _turn(family: Family, made: list[Made], text: str = "") -> str:
    return turn(family.template, made, text, family.begins, family.ends)


@each_family
def test_templates_are_recognised(family: Family) -> None:
    recognised = [one.dialect.name for one in FAMILIES if one.dialect.recognises(source(family.template))]
    assert set(recognised) == {family.dialect.name}


@each_family
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_what_a_template_writes_is_read_again(family: Family, data: st.DataObject) -> None:
    made = data.draw(made_calls())
    text = data.draw(st.sampled_from(["", "I will look.", "a < b\n\nand <b>c</b>"]))
    answer = _turn(family, made, text)
    result = read(family.dialect.parser(TOOLS), data.draw(cuts(answer)))
    assert result.calls == made
    assert result.text.strip() == text
    assert result.warnings == []


@each_family
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_the_grammar_takes_what_a_template_writes(family: Family, data: st.DataObject) -> None:
    """Seed-OSS prints objects as Python does; the grammar wants JSON, which its parser reads too."""
    shown = {key: value for key, value in members.items() if family.dialect is not SEED or key not in ("options", "items")}
    made = data.draw(made_calls(values=shown))
    answer = _turn(family, made).lstrip("\n")
    assert accepts(grammar_of(family.dialect, family.special), answer, family.special)
    if len(made) > 1:
        assert not accepts(grammar_of(family.dialect, family.special, parallel=False), answer, family.special)


@each_family
def test_a_call_that_the_model_was_free_to_make_is_held_to_its_schema(family: Family) -> None:
    assert family.dialect.trigger is not None
    trigger = family.dialect.trigger(TOOLS, marks(family.special), True)
    made = [Made("find", {"words": "a", "limit": 3}), Made("list_files", {})]
    _, mark, rest = _turn(family, made).partition(trigger.mark)
    assert mark
    assert accepts(trigger.rules, rest, family.special)
    _, _, rest = _turn(family, [Made("find", {"words": "a"})]).partition(trigger.mark)
    assert not accepts(trigger.rules, rest, family.special)


@each_family
def test_the_grammar_enforces_names_and_schemas(family: Family) -> None:
    grammar = grammar_of(family.dialect, family.special)

    def fits(name: str, **arguments: object) -> bool:
        return accepts(grammar, _turn(family, [Made(name, arguments)]).lstrip("\n"), family.special)

    assert fits("find", words="a\nb", limit=3)
    assert fits("find", words="</b>", order="up", limit=3)
    assert not fits("find", words="x", order="sideways", limit=3)
    assert not fits("find", words="x", limit=30)
    assert not fits("find", words="x")
    assert not fits("lose", words="x", limit=3)
    assert not fits("list_files", words="x")


@each_family
def test_a_call_that_is_cut_stays_open_once_it_was_begun(family: Family) -> None:
    answer = _turn(family, [Made("write_file", {"text": "hello", "count": 3})], "Well.")
    whole = "".join(answer)
    for end in range(len(whole)):
        result = read(family.dialect.parser(TOOLS), list(whole[:end]))
        if not result.calls:
            assert result.cut == ("write_file",) or whole[:end].strip().startswith(result.text.strip())
            assert result.cut or result.text.strip() == whole[:end].strip()


@each_family
def test_a_call_of_no_tool_comes_back_as_text(family: Family) -> None:
    answer = _turn(family, [Made("lose", {"text": "hello"}), Made("list_files", {})]).strip()
    result = read(family.dialect.parser(TOOLS), list(answer))
    assert "hello" in result.text
    assert "lose" in result.text
    assert len(result.warnings) == 1


@each_family
def test_an_end_within_a_string_is_part_of_it(family: Family) -> None:
    for text in (
        "a</parameter>b",
        "a\n</arg_value>",
        "</｜DSML｜parameter> ",
        "</function>",
        "<tool_call>",
        "\n</tool_call>\n",
        "<parameter=x>",
    ):
        made = [Made("write_file", {"text": text, "count": 1})]
        result = read(family.dialect.parser(TOOLS), list(_turn(family, made)))
        assert result.calls == made


def test_a_forgotten_first_tag_is_forgiven() -> None:
    answer = "Now.\n<function=list_files>\n</function>\n</tool_call>"
    result = read(QWEN3_CODER.parser(TOOLS), list(answer))
    assert (result.text, result.calls, result.warnings) == ("Now.", [Made("list_files", {})], [])


def test_tags_that_are_talked_about_are_text() -> None:
    answer = "Write <function=name> and </function>, or <tool_call> alone."
    result = read(QWEN3_CODER.parser(TOOLS), list(answer))
    assert (result.text, result.calls) == (answer, [])
    assert len(result.warnings) == 1


def test_a_malformed_call_comes_back_as_text_and_a_good_one_after_it_counts() -> None:
    bad = "<tool_call>\n<function=find>\nwords: a\n</function>\n</tool_call>"
    good = "<tool_call>\n<function=list_files>\n</function>\n</tool_call>"
    result = read(QWEN3_CODER.parser(TOOLS), list(f"{bad}\n{good}"))
    assert result.text.strip() == bad
    assert result.calls == [Made("list_files", {})]
    assert len(result.warnings) == 1


@pytest.mark.parametrize(
    ("schema", "written", "meant"),
    [
        ({"type": "string"}, "123", "123"),
        ({"type": "string"}, "null", "null"),
        ({"type": ["string", "null"]}, "null", None),
        ({"type": ["string", "null"]}, "nullable", "nullable"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "None", None),
        ({"type": "integer"}, "7", 7),
        ({"type": "integer"}, " 7.0 ", 7.0),
        ({"type": "number"}, "7", 7),
        ({"type": "boolean"}, "True", True),
        ({"type": "boolean"}, "false", False),
        ({"type": ["integer", "string"]}, "7", 7),
        ({"type": ["integer", "string"]}, "seven", "seven"),
        ({"type": "object"}, "{'a': [None, True, 'it\\'s']}", {"a": [None, True, "it's"]}),
        ({"type": "array"}, "[1, 2, ]", [1, 2]),
        ({"enum": [1, 2]}, "2", 2),
        ({"$ref": "#/$defs/Size"}, "2", 2),
        ({"allOf": [{"type": "integer"}]}, "2", 2),
        ({}, "2", 2),
        ({}, "two", "two"),
        ({}, '{"a": 1}', {"a": 1}),
        ({}, '{"a": 1} or not', '{"a": 1} or not'),
        ({"type": "object"}, "", ""),
    ],
)
def test_values_are_read_by_their_schema(schema: dict[str, object], written: str, meant: object) -> None:
    tool = ToolDefinition(name="f", parameters={"properties": {"x": schema}, "$defs": {"Size": {"type": "integer"}}})
    answer = f"<tool_call>\n<function=f>\n<parameter=x>\n{written}\n</parameter>\n</function>\n</tool_call>"
    result = read(QWEN3_CODER.parser([tool]), list(answer))
    assert result.calls == [Made("f", {"x": meant})]


def test_a_value_of_the_wrong_type_is_given_as_text_with_a_warning() -> None:
    answer = "<tool_call><function=find><parameter=limit>many</parameter></function></tool_call>"
    result = read(QWEN3_CODER.parser(TOOLS), list(answer))
    assert result.calls == [Made("find", {"limit": "many"})]
    assert "'limit'" in result.warnings[0]


def test_strings_stream_as_they_are_made() -> None:
    parser = QWEN3_CODER.parser(TOOLS)
    parser.push("<tool_call>\n<function=write_file>\n<parameter=text>\n")
    assert parser.push("hello wor") == [ToolCallDelta(index=0, arguments="hello wor")]


def test_numbers_without_end_and_deep_lists_are_text() -> None:
    for written in ("9" * 6000, "[" * 200 + "]" * 200, "1e", "0x", "1if"):
        answer = f"<tool_call><function=f><parameter=x>{written}</parameter></function></tool_call>"
        tool = ToolDefinition(name="f", parameters={"properties": {"x": {}}})
        assert read(QWEN3_CODER.parser([tool]), [answer]).calls == [Made("f", {"x": written})]


def test_one_tool_of_each_kind_makes_a_grammar() -> None:
    for tool in (WRITE, LIST, NEEDY):
        for family in FAMILIES:
            assert not accepts(grammar_of(family.dialect, family.special, tools=[tool]), "", family.special)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family.dialect is not DSML], ids=str)
@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "string", "pattern": "^[a-z]+/[0-9]$"}, ["ab/1"], ["ab", "AB/1", "ab/1 "]),
        ({"type": "string", "pattern": "b+"}, ["abc", "b"], ["ac", ""]),
        ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "a\nb"], ["a", "abcd"]),
        ({"type": "string", "pattern": "(?=a)b"}, ["anything"], []),
        ({"type": "integer", "multipleOf": 5}, [10], [11]),
    ],
)
def test_the_grammar_enforces_what_a_schema_says_about_one_value(
    family: Family, schema: dict[str, object], good: list[object], bad: list[object]
) -> None:
    key = "count" if schema["type"] == "integer" else "text"
    tool = ToolDefinition(name="write_file", parameters={"type": "object", "properties": {key: schema}})
    grammar = grammar_of(family.dialect, family.special, tools=[tool])
    for values, fit in ((good, True), (bad, False)):
        for value in values:
            answer = _turn(family, [Made("write_file", {key: value})]).lstrip("\n")
            assert accepts(grammar, answer, family.special) == fit


def test_a_strict_tool_that_cannot_be_enforced_is_refused_by_name() -> None:
    for schema in (
        {"type": "string", "pattern": "(?=a)b"},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=a)b"}}},
    ):
        tool = ToolDefinition(name="f", strict=True, parameters={"properties": {"x": schema}})
        with pytest.raises(InvalidRequest) as raised:
            grammar_of(QWEN3_CODER, tools=[tool])
        assert (raised.value.param or "").startswith("tools[f].parameters.properties.x")


@each_family
def test_json_between_the_first_and_the_last_tag_is_forgiven(family: Family) -> None:
    first, last = {
        QWEN3_CODER: ("<tool_call>", "</tool_call>"),
        SEED: ("<seed:tool_call>", "</seed:tool_call>"),
        GLM: ("<tool_call>", "</tool_call>"),
        MINIMAX: ("<minimax:tool_call>", "</minimax:tool_call>"),
        DSML: ("<｜DSML｜function_calls>", "</｜DSML｜function_calls>"),
    }[family.dialect]
    answer = f'Now.\n{first}\n{{"name": "find", "arguments": {{"words": "a", "limit": 2}}}}\n{last}\n'
    result = read(family.dialect.parser(TOOLS), list(answer))
    assert (result.text, result.calls, result.warnings) == ("Now.", [Made("find", {"words": "a", "limit": 2})], [])
    result = read(family.dialect.parser(TOOLS), list(f"{first}{{ is not a call {last}"))
    assert (result.text, result.calls) == (f"{first}{{ is not a call {last}", [])
    assert len(result.warnings) == 1
