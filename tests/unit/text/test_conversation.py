"""Conversations that many templates cannot show as they are: thoughts, parallel calls, later system messages."""

from dataclasses import replace

import pytest

from pomona.core.messages import Message, ToolCall
from pomona.text.templates import Conversation
from pomona.text.tools.catalog import find_dialect
from tests.unit.text.tools.renderings import NAMES, TOOLS, call, message, source, template

CALLS = (call(1, "get_weather", {"city": "Paris"}), call(2, "add", {"a": 1, "b": 2}))
OPTIONS = {"enable_thinking": True, "thinking": True}
KEEPS_THOUGHTS = [name for name in NAMES if template(name).style(with_tools=True).thoughts]


def _result(made: ToolCall, text: str) -> Message:
    return replace(message("tool", text), tool_call_id=made.id)


def _render(name: str, *messages: Message, tools: bool = True) -> str:
    written = find_dialect(source(name)).written
    return template(name).render(
        Conversation(messages=messages, tools=TOOLS if tools else (), options=OPTIONS, write_calls=written),
    )


def _in_order(text: str, *parts: str) -> bool:
    places = [text.rfind(part) for part in parts]
    return -1 not in places and places == sorted(places)


@pytest.mark.parametrize("name", NAMES)
def test_a_later_system_message_stays_where_it_is(name: str) -> None:
    asked = [message("system", "FIRST"), message("user", "ONE"), message("assistant", "TWO")]
    text = _render(name, *asked, message("system", "LATER"), message("user", "THREE"), tools=False)
    assert _in_order(text, "ONE", "TWO", "LATER", "THREE")


@pytest.mark.parametrize("name", ["meta-llama-Llama-3.1-8B-Instruct", "Qwen3.5-4B", "mistralai-Mistral-Nemo-Instruct-2407"])
def test_the_beginning_does_not_change_when_a_system_message_comes(name: str) -> None:
    asked = [message("system", "FIRST"), message("user", "ONE"), message("assistant", "TWO"), message("user", "THREE")]
    before = _render(name, *asked[:3], tools=False)
    after = _render(name, *asked[:3], message("system", "LATER"), tools=False)
    assert after.startswith(before[: before.index("ONE") + 3])


@pytest.mark.parametrize("name", ["Qwen3.5-4B", "mistralai-Mistral-Nemo-Instruct-2407", "openai-gpt-oss-120b"])
def test_the_form_of_a_later_system_message(name: str) -> None:
    text = _render(
        name, message("user", "ONE"), message("assistant", "TWO"), message("system", "LATER"), message("user", "THREE"), tools=False
    )
    assert "<system>\nLATER\n</system>\n\nTHREE" in text


@pytest.mark.parametrize("name", NAMES)
def test_several_first_system_messages_are_all_there(name: str) -> None:
    text = _render(name, message("system", "FIRST"), message("developer", "SECOND"), message("user", "ONE"), tools=False)
    assert _in_order(text, "FIRST", "SECOND", "ONE")


@pytest.mark.parametrize("name", ["meta-llama-Llama-3.1-8B-Instruct", "openai-gpt-oss-120b"])
def test_parallel_calls_are_told_one_by_one(name: str) -> None:
    messages = [message("user", "ONE"), message("assistant", "", *CALLS), _result(CALLS[1], "RESULT-2"), _result(CALLS[0], "RESULT-1")]
    text = _render(name, *messages, message("user", "THREE"))
    assert _in_order(text, "ONE", "Paris", "RESULT-1", '"b": 2', "RESULT-2", "THREE")


@pytest.mark.parametrize("name", [name for name in NAMES if "command-r-plus" not in name])  # wants every parameter described
def test_a_user_may_add_to_results(name: str) -> None:
    asked = [message("user", "ONE"), message("assistant", "", CALLS[0]), _result(CALLS[0], "OUTCOME"), message("user", "MORE")]
    assert _in_order(_render(name, *asked), "OUTCOME", "MORE")


@pytest.mark.parametrize("name", ["ibm-granite-granite-3.3-2B-Instruct", "LFM2-8B-A1B"])
def test_calls_that_a_template_leaves_out_are_written_as_the_model_does(name: str) -> None:
    text = _render(
        name, message("user", "ONE"), message("assistant", "", *CALLS), _result(CALLS[0], "RESULT-1"), _result(CALLS[1], "RESULT-2")
    )
    assert _in_order(text, "ONE", "Paris", "RESULT-1", "RESULT-2")


@pytest.mark.parametrize("name", KEEPS_THOUGHTS)
def test_thoughts_before_calls_or_answers_are_shown(name: str) -> None:
    calls = CALLS[:1] if template(name).style(with_tools=True).calls and template(name).style(with_tools=True).tools else ()
    said = replace(message("assistant", "" if calls else "SAID", *calls), reasoning="THOUGHT")
    shown = [_render(name, message("user", "ONE"), said, *([_result(calls[0], "RESULT")] if calls else []), tools=bool(calls))]
    assert any("THOUGHT" in text for text in shown)


def test_most_families_that_think_keep_their_thoughts() -> None:
    assert {"Qwen-Qwen3-0.6B", "openai-gpt-oss-120b", "Kimi-K2-Thinking", "deepseek-ai-DeepSeek-V3.2", "LFM2.5-Instruct"} <= set(
        KEEPS_THOUGHTS
    )
