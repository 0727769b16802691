"""Chat templates that show no tools: what the model is told instead, how earlier turns look, and that the beginning stays the same."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from pomona.core.errors import UnsupportedField
from pomona.core.messages import Message, ToolCall, ToolDefinition
from pomona.text.templates import ChatTemplate, Conversation
from pomona.text.tools.catalog import find_dialect
from pomona.text.tools.grammars import literal
from tests.unit.text.tools.renderings import NAMES, TOOLS, accepted, call, message, read, source, summary, template

TAUGHT = {
    "HuggingFaceTB-SmolLM3-3B": "generic",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": "deepseek_fenced",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": "deepseek_fenced",
    "deepseek-ai-DeepSeek-V3.1": "deepseek",
    "google-gemma-2-2b-it": "generic",
    "llama-cpp-rwkv-world": "generic",
    "microsoft-Phi-3.5-mini-instruct": "generic",
    "plain-chatml": "generic",
    "plain-gemma-3": "generic",
    "plain-llama-2": "generic",
    "plain-phi-4-mini": "phi",
    "plain-zephyr": "generic",
}
AS_TEXT = [name for name, dialect in TAUGHT.items() if dialect == "generic"]
# Why the beginning of a conversation changes in these templates: they show the tools, or the system message, before the last question only;
# they leave out the thoughts, even empty ones, of all turns before it; gpt-oss's drops the text beside calls once they are answered.
MOVES = {
    "Mistral-Small-3.2-24B-Instruct-2506",
    "mistralai-Mistral-Nemo-Instruct-2407",
    "Qwen3.5-4B",
    "StepFun3.5-Flash",
    "stepfun-ai-Step-3.5-Flash",
    "openai-gpt-oss-120b",
}
SYSTEM, FIRST = message("system", "RULES"), message("user", "ONE")
CALLS = [
    call(1, "get_weather", {"city": 'P"ar</is>\n', "days": [1, 2]}),
    call(2, "add", {"a": 1, "b": 987654}),
]
DESCRIBED = ToolDefinition(
    name="get_weather",
    description="The weather somewhere.",
    parameters={"type": "object", "properties": {"city": {"type": "string", "description": "Where."}}, "required": ["city"]},
)


def _result(made: ToolCall, text: str) -> Message:
    return replace(message("tool", text), tool_call_id=made.id)


def _render(name: str, *messages: Message, tools: Sequence[ToolDefinition] = TOOLS) -> str:
    written = find_dialect(source(name)).written
    return template(name).render(Conversation(messages=messages, tools=tools, options={}, write_calls=written))


def _answer(name: str, calls: Sequence[ToolCall]) -> str:
    """What the rendering of these calls adds to the prompt that asked for them."""
    results = [_result(made, f"RESULT-{made.id}") for made in calls]
    rendered = _render(name, SYSTEM, FIRST, message("assistant", "", *calls), *results)
    return rendered[rendered.rindex("ONE") + 3 : rendered.index("RESULT-")]


def test_these_templates_show_no_tools() -> None:
    assert {name for name in NAMES if not template(name).style(with_tools=True).tools} == set(TAUGHT)
    assert {name: find_dialect(source(name)).name for name in TAUGHT} == TAUGHT


@pytest.mark.parametrize("name", TAUGHT)
@pytest.mark.parametrize("system", [(), (SYSTEM,), (SYSTEM, message("developer", "DEV"))], ids=["none", "one", "two"])
def test_the_model_is_told_all_of_the_tools_and_the_system_messages(name: str, system: tuple[Message, ...]) -> None:
    rendered = _render(name, *system, FIRST)
    for text in (*(each.text for each in system), *(json.dumps(each.parameters) for each in TOOLS), "A sum.", '"get_weather"'):
        assert rendered.count(text) == 1
        assert rendered.index(text) < rendered.rindex("ONE")
    dialect = find_dialect(source(name))
    assert dialect.written is not None
    form = dialect.written([ToolCall(id="", name="<function-name>", arguments="<args-json-object>")])
    assert (form in rendered) == (name != "plain-phi-4-mini")


def test_phi_reads_tools_from_a_field_of_the_system_message() -> None:
    functions = json.dumps([{"name": tool.name, "description": tool.description, "parameters": tool.parameters} for tool in TOOLS])
    assert f"<|system|>RULES<|tool|>{functions}<|/tool|><|end|><|user|>ONE" in _render("plain-phi-4-mini", SYSTEM, FIRST)
    assert f"tools.<|tool|>{functions}<|/tool|><|end|><|user|>ONE" in _render("plain-phi-4-mini", FIRST)


@pytest.mark.parametrize("name", TAUGHT)
@pytest.mark.parametrize("calls", [CALLS[:1], CALLS], ids=["one", "two"])
def test_calls_come_back_as_they_are_shown_and_the_grammar_makes_them(name: str, calls: list[ToolCall]) -> None:
    dialect = find_dialect(source(name))
    answer = _answer(name, calls)
    assert summary(read(dialect.parser(TOOLS), [answer]))[1] == [(made.name, json.loads(made.arguments), True) for made in calls]
    assert dialect.written is not None
    assert accepted(dialect.calls(TOOLS, literal, True), dialect.written(calls))


@pytest.mark.parametrize("name", AS_TEXT)
def test_results_are_a_user_s_turn_in_the_order_of_the_calls(name: str) -> None:
    asked = [SYSTEM, FIRST, message("assistant", "I look.", *CALLS)]
    rendered = _render(name, *asked, _result(CALLS[1], "SUM"), _result(CALLS[0], "RAIN"), message("user", "TWO"))
    assert "<tool_response>\nRAIN\n</tool_response>\n<tool_response>\nSUM\n</tool_response>\n\nTWO" in rendered
    assert rendered.index("I look.<tool_call>") < rendered.index("RAIN")
    without = _render(name, *asked, _result(CALLS[1], "SUM"), _result(CALLS[0], "RAIN"), message("user", "TWO"), tools=())
    assert without[without.index("ONE") :] == rendered[rendered.rindex("ONE") :]


@pytest.mark.parametrize("name", ["deepseek-ai-DeepSeek-V3.1", "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B"])
def test_deepseek_keeps_its_own_form_of_results(name: str) -> None:
    rendered = _render(name, SYSTEM, FIRST, message("assistant", "", CALLS[1]), _result(CALLS[1], "SUM"))
    assert "<｜tool▁output▁begin｜>SUM<｜tool▁output▁end｜>" in rendered
    assert "<tool_response>" not in rendered


@pytest.mark.parametrize("name", ["google-gemma-2-2b-it", "plain-gemma-3", "plain-llama-2", "mistralai-Mistral-Nemo-Instruct-2407"])
def test_turns_of_one_role_are_one_where_the_template_wants_them_to_alternate(name: str) -> None:
    said = [FIRST, message("user", "TWO"), message("assistant", "SAID"), message("assistant", "MORE"), message("user", "THREE")]
    rendered = _render(name, *said, tools=())
    assert "ONE\n\nTWO" in rendered
    assert "SAID\n\nMORE" in rendered


@pytest.mark.parametrize("name", [name for name in NAMES if "firefunction" not in name])  # it writes the time
def test_a_longer_conversation_begins_as_the_shorter_one(name: str) -> None:
    """Up to the last message; behind it, a template may open the answer in another way than it shows a finished one."""
    made = [call(number, "get_weather", {"city": "Paris"}) for number in (1, 2)]
    turns = [
        SYSTEM,
        FIRST,
        message("assistant", "", made[0]),
        _result(made[0], "TWO"),
        message("assistant", "SAID"),
        message("user", "THREE"),
    ]
    turns += [message("assistant", "TEXT", made[1]), _result(made[1], "FOUR"), message("assistant", "LAST"), message("user", "FIVE")]
    kept: list[bool] = []
    before = ""
    for length in range(2, len(turns) + 1, 2):
        rendered = _render(name, *turns[:length], tools=[DESCRIBED])
        kept.append(rendered.startswith(before))
        last = turns[length - 1].text
        before = rendered[: rendered.rindex(last) + len(last)]
    assert all(kept) == (name not in MOVES)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"type": "object"},
        {"type": "object", "properties": {"some_word": {"type": "string"}}},
        {"type": "object", "properties": {"some_word": {"type": ["string", "null"]}}, "required": ["some_word"]},
        {"type": "object", "properties": {"some_word": {"type": ["null", "array"], "items": {}}, "b": True}},
        {"type": "object", "properties": {"some_word": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"type": "string"}}},
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_schemas_that_leave_things_out_are_no_reason_to_fail(name: str, parameters: dict[str, object]) -> None:
    rendered = _render(name, FIRST, tools=[ToolDefinition(name="look_up", parameters=parameters)])
    assert "look_up" in rendered
    assert ("some_word" in rendered) == ("some_word" in str(parameters))


def test_without_a_form_of_calls_tools_are_refused() -> None:
    plain = ChatTemplate({"default": source("plain-chatml")}, variables={})
    with pytest.raises(UnsupportedField, match="no place for tools"):
        plain.render(Conversation(messages=[FIRST], tools=TOOLS, options={}))
