"""Calls in Python's and in Gemma's notation."""

import json
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.core.generation import ToolCallDelta
from pomona.core.messages import Message, TextPart, ToolCall, ToolDefinition
from pomona.text.templates import ChatTemplate, Conversation
from pomona.text.tools.dialect import Dialect
from pomona.text.tools.dialects.markup.gemma import FUNCTION_GEMMA, GEMMA_4
from pomona.text.tools.dialects.markup.pythonic import LFM2, LLAMA_PYTHONIC, OLMO
from tests.unit.text.tools.dialects.samples import (
    TOOLS,
    Made,
    accepts,
    cuts,
    grammar_of,
    made_calls,
    marks,
    members,
    read,
    source,
    strings,
    turn,
)

Writer = Callable[[Sequence[Made]], str]
keys = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True)
plain_values = st.recursive(
    st.one_of(strings, st.integers(-(10**12), 10**12), st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=6,
)
GEMMA_MEMBERS = {**members, "options": st.dictionaries(keys, plain_values, max_size=3), "items": st.lists(plain_values, max_size=3)}


def _python(made: Sequence[Made]) -> str:
    written = (f"{call.name}({', '.join(f'{key}={value!r}' for key, value in call.arguments.items())})" for call in made)
    return f"[{', '.join(written)}]"


def _lfm2(made: Sequence[Made]) -> str:
    return f"<|tool_call_start|>{_python(made)}<|tool_call_end|>"


def _gemma(made: Sequence[Made]) -> str:
    return turn("google-gemma-4-31B-it-interleaved", made, "", "<|turn>model\n", "<turn|>\n<|turn>")


def _function_gemma(made: Sequence[Made]) -> str:
    """FunctionGemma writes what Gemma 4 writes, with other marks; it has no template here."""
    written = _gemma(made)
    for mark, other in zip(GEMMA_4.visible, FUNCTION_GEMMA.visible, strict=True):
        written = written.replace(mark, other)
    return written


def _olmo(made: Sequence[Made]) -> str:
    assert OLMO.written is not None
    return OLMO.written([ToolCall(id="", name=call.name, arguments=json.dumps(call.arguments)) for call in made])


FAMILIES = [
    pytest.param(OLMO, _olmo, (), id="olmo"),
    pytest.param(LLAMA_PYTHONIC, _python, (), id="llama"),
    pytest.param(LFM2, _lfm2, (), id="lfm2"),
    pytest.param(LFM2, _lfm2, LFM2.visible, id="lfm2 with tokens"),
    pytest.param(GEMMA_4, _gemma, (), id="gemma 4"),
    pytest.param(GEMMA_4, _gemma, GEMMA_4.visible, id="gemma 4 with tokens"),
    pytest.param(FUNCTION_GEMMA, _function_gemma, (), id="function gemma"),
]
each_family = pytest.mark.parametrize(("dialect", "write", "special"), FAMILIES)


def _shown(dialect: Dialect) -> dict[str, st.SearchStrategy[object]]:
    return dict(members if dialect in (LFM2, LLAMA_PYTHONIC, OLMO) else GEMMA_MEMBERS)


@pytest.mark.parametrize("space", ["", " ", "\n\n", "  \n "])
def test_space_before_the_sign_behind_a_name_may_come_in_any_pieces(space: str) -> None:
    answer = f"[find(words{space}={space}'a', limit{space}={space}3)]"
    for length in range(1, len(answer) + 1):
        pieces = [answer[start : start + length] for start in range(0, len(answer), length)]
        assert read(LLAMA_PYTHONIC.parser(TOOLS), pieces).calls == [Made("find", {"words": "a", "limit": 3})]


def test_templates_are_recognised() -> None:
    assert LFM2.recognises(source("LFM2-8B-A1B"))
    assert LFM2.recognises(source("LFM2.5-Instruct"))
    assert GEMMA_4.recognises(source("google-gemma-4-31B-it"))
    assert LLAMA_PYTHONIC.recognises("put it in the format of [func_name1(params_name1=params_value1)]")
    assert not LLAMA_PYTHONIC.recognises(source("meta-llama-Llama-3.2-3B-Instruct"))


@pytest.mark.parametrize("name", ["LFM2-8B-A1B", "LFM2.5-Instruct"])
def test_calls_of_earlier_turns_are_shown_where_the_template_leaves_them_out(name: str) -> None:
    """LFM2's templates show the text of a message only."""
    call = ToolCall(id="1", name="find", arguments='{"words": "it\'s \\"x\\"", "limit": 2, "more": {"a": [true, null]}}')
    said = Message(role="assistant", content=(TextPart(text="Now."),), tool_calls=(call, ToolCall(id="2", name="list_files", arguments="")))
    asked = Message(role="user", content=(TextPart(text="What?"),))
    template = ChatTemplate({"default": source(name)}, variables={"bos_token": ""}, origin=name)
    conversation = Conversation(messages=[asked, said], tools=TOOLS, options={}, write_calls=LFM2.written)
    answer = template.render(conversation).rpartition("<|im_start|>assistant\nNow.")[2].partition("<|im_end|>")[0]
    assert answer == ('<|tool_call_start|>[find(words="it\'s \\"x\\"", limit=2, more={"a": [True, None]}), list_files()]<|tool_call_end|>')
    result = read(LFM2.parser(TOOLS), [answer])
    assert result.calls[0] == Made("find", {"words": 'it\'s "x"', "limit": 2, "more": {"a": [True, None]}})


@each_family
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_what_a_model_writes_is_read(dialect: Dialect, write: Writer, special: tuple[str, ...], data: st.DataObject) -> None:
    made = data.draw(made_calls(values=_shown(dialect)))
    text = data.draw(st.sampled_from(["", "I will look.\n", "see [1] and f(x): "]))
    result = read(dialect.parser(TOOLS), data.draw(cuts(text + write(made))))
    assert result.calls == made
    assert result.text.strip() == text.strip()
    assert result.warnings == []


@each_family
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_the_grammar_takes_what_a_model_writes(dialect: Dialect, write: Writer, special: tuple[str, ...], data: st.DataObject) -> None:
    made = data.draw(made_calls(values=_shown(dialect)))
    assert accepts(grammar_of(dialect, special), write(made), special)
    if len(made) > 1:
        assert not accepts(grammar_of(dialect, special, parallel=False), write(made), special)


@each_family
def test_the_grammar_enforces_names_and_schemas(dialect: Dialect, write: Writer, special: tuple[str, ...]) -> None:
    grammar = grammar_of(dialect, special)

    def fits(name: str, **arguments: object) -> bool:
        return accepts(grammar, write([Made(name, arguments)]), special)

    assert fits("find", words="a\nb", limit=3)
    assert fits("find", words="a 'b' \"c\"", order="up", limit=3)
    assert not fits("find", words="x", order="sideways", limit=3)
    assert not fits("find", words="x", limit=30)
    assert not fits("find", words="x")
    assert not fits("find", words=1, limit=3)
    assert not fits("lose", words="x", limit=3)
    assert not fits("list_files", words="x")


NESTED = ToolDefinition(
    name="plot",
    parameters={
        "type": "object",
        "properties": {
            "points": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"$ref": "#/$defs/Point"}},
            "style": {"anyOf": [{"type": "null"}, {"enum": ["dots", 1, None, ["a"]]}]},
        },
        "required": ["points"],
        "$defs": {
            "Point": {
                "type": "object",
                "properties": {"x": {"type": "number"}, "y": {"type": "integer"}, "next": {"$ref": "#/$defs/Point"}},
                "required": ["x"],
                "additionalProperties": False,
            }
        },
    },
)


@pytest.mark.parametrize(
    ("points", "style", "fits"),
    [
        ([{"x": 1.5}], "dots", True),
        ([{"x": 1, "y": 2}, {"x": 3}], None, True),
        ([{"x": 1, "next": {"x": 2, "y": 1}}], ["a"], True),
        ([], 1, False),
        ([{"x": 1}] * 3, 1, False),
        ([{"y": 1}], 1, False),
        ([{"x": 1, "y": 1.5}], 1, False),
        ([{"x": 1}], "lines", False),
        ([{"x": 1}], ["b"], False),
    ],
)
def test_grammars_follow_nested_schemas(points: list[object], style: object, fits: bool) -> None:
    lfm2 = _lfm2([Made("plot", {"points": points, "style": style})])
    assert accepts(grammar_of(LFM2, tools=[NESTED]), lfm2) == fits
    written = lfm2.removeprefix("<|tool_call_start|>[plot(points=").removesuffix(")]<|tool_call_end|>").replace(", style=", ",style:")
    for key in ("x", "y", "next"):
        written = written.replace(f"'{key}': ", f"{key}:")
    gemma = f"<|tool_call>call:plot{{points:{written.replace(', ', ',')}}}<tool_call|>".replace("'", '<|"|>')
    if "next" not in gemma:
        assert accepts(grammar_of(GEMMA_4, tools=[NESTED]), gemma) == fits


@each_family
def test_a_call_that_the_model_was_free_to_make_is_held_to_its_schema(dialect: Dialect, write: Writer, special: tuple[str, ...]) -> None:
    if dialect.trigger is None:
        assert dialect is LLAMA_PYTHONIC
        return
    trigger = dialect.trigger(TOOLS, marks(special), True)
    made = [Made("find", {"limit": 3, "words": "a"}), Made("list_files", {})]
    if dialect in (LFM2, OLMO):
        made[0] = Made("find", {"words": "a", "limit": 3})
    assert accepts(trigger.rules, write(made).removeprefix(trigger.mark), special)
    assert not accepts(trigger.rules, write([Made("find", {"words": "a"})]).removeprefix(trigger.mark), special)


@each_family
def test_a_call_of_no_tool_comes_back_as_text(dialect: Dialect, write: Writer, special: tuple[str, ...]) -> None:
    answer = write([Made("lose", {"text": "hello"})])
    result = read(dialect.parser(TOOLS), list(answer))
    assert (result.text, result.calls) == (answer, [])
    assert len(result.warnings) == (dialect is not LLAMA_PYTHONIC)


@each_family
def test_a_call_that_is_cut_stays_open_once_it_was_begun(dialect: Dialect, write: Writer, special: tuple[str, ...]) -> None:
    answer = write([Made("write_file", {"text": "hello"})])
    for end in range(1, answer.index("hello") + 5):
        result = read(dialect.parser(TOOLS), list(answer[:end]))
        assert result.calls == []
        assert (result.cut == ("write_file",) and not result.text) or result.text == answer[:end]


@pytest.mark.parametrize(
    ("answer", "arguments"),
    [
        ("[find('a', limit=3)]", {"words": "a", "limit": 3}),
        ('[find( words = "a" , limit=3, )]', {"words": "a", "limit": 3}),
        ("[find(words='''a\nb''')]", {"words": "a\nb"}),
        ("[find(words=None, order=True)]", {"words": None, "order": True}),
        ("<|python_start|>[find(words='a')]<|python_end|>", {"words": "a"}),
        ("[ find(words='a') ]", None),
    ],
)
def test_ways_of_writing_python(answer: str, arguments: dict[str, object] | None) -> None:
    result = read(LLAMA_PYTHONIC.parser(TOOLS), list(answer))
    assert result.calls == ([] if arguments is None else [Made("find", arguments)])
    assert result.text == (answer if arguments is None else "")


@pytest.mark.parametrize(
    "answer", ["See [find(me)] there.", "[find(2 + 3)]", "[find(*a)]", "[find(words='a' 'b')]", "[find('a', 'up', 3, 4)]"]
)
def test_what_is_no_call_loses_nothing(answer: str) -> None:
    result = read(LLAMA_PYTHONIC.parser(TOOLS), list(answer))
    assert result.calls == []
    assert result.text == answer or (result.cut == ("find",) and result.warnings)


def test_lfm2_may_be_asked_for_json() -> None:
    find = '{"name": "find", "arguments": {"words": "a", "limit": 2}}'
    answer = f'Now.<|tool_call_start|>[{find}, {{"name": "list_files", "arguments": {{}}}}]<|tool_call_end|>'
    result = read(LFM2.parser(TOOLS), list(answer))
    assert (result.text, result.calls) == ("Now.", [Made("find", {"words": "a", "limit": 2}), Made("list_files", {})])


def test_gemma_strings_in_json_quotes_are_forgiven() -> None:
    result = read(GEMMA_4.parser(TOOLS), list('<|tool_call>call:find{words:"a \\"b\\"",limit:2}<tool_call|>'))
    assert result.calls == [Made("find", {"words": 'a "b"', "limit": 2})]


def test_strings_stream_as_they_are_made() -> None:
    for dialect, begin in ((LFM2, "<|tool_call_start|>[find(words='"), (GEMMA_4, '<|tool_call>call:find{words:<|"|>')):
        parser = dialect.parser(TOOLS)
        parser.push(begin)
        assert parser.push("hello wor") == [ToolCallDelta(index=0, arguments="hello wor")]
