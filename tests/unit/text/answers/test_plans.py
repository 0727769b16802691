"""What a request, a family's template and its tokenizer make of an answer: thoughts, grammars, limits, gaps."""

from typing import Any

import pytest
from llguidance import LLMatcher

from pomona.core.errors import InvalidRequest, UnsupportedField
from pomona.core.generation import GenerateRequest, OutputFormat, ReasoningOptions, ToolChoice
from pomona.core.messages import ToolDefinition
from pomona.engine.grammar.lexicon import GrammarTokenizer, lexicon_of
from pomona.text.prompt import PlannedPrompt, PromptBuilder
from pomona.text.templates import load_chat_template
from tests.unit.text.samples import STORIES, TINY, tokenizer
from tests.unit.text.tools.renderings import TOOLS, accepted, message, template

BY = tokenizer(TINY)
NUMBER = OutputFormat(kind="regex", source="[0-9]+")
ON, OFF = ReasoningOptions(enabled=True), ReasoningOptions(enabled=False)
OPEN, CLOSE, MARK, END_MARK = 8190, 8191, 8186, 8187


def _plan(family: str | None = None, *, constrain: bool = True, **fields: Any) -> PlannedPrompt:
    """For the bundled tokenizer, with its own template or that of another family."""
    chosen = template(family) if family else load_chat_template(TINY, variables=BY.template_variables)
    builder = PromptBuilder(BY, chosen, max_context=8192, constrain_calls=constrain)
    given: dict[str, Any] = {"messages": (message("user", "Hi"),), **fields}
    return builder.plan(GenerateRequest(id="one", model="tiny", **given))


def _tail(planned: PlannedPrompt) -> str:
    return BY.decode(planned.prompt.token_ids[-16:], skip_special_tokens=False)


def _makes(planned: PlannedPrompt, text: str) -> bool:
    grammar = planned.prompt.grammar
    assert grammar is not None
    matcher = LLMatcher(GrammarTokenizer(lexicon_of(BY), BY.vocabulary_size).matching, grammar.source)
    assert not matcher.is_error(), matcher.get_error()
    return matcher.consume_tokens(BY.encode(text, add_special_tokens=False)) and matcher.is_accepting()


ADD = '{"name": "add", "arguments": {"a": 1, "b": 2}}'
CALL = f"<tool_call>\n{ADD}\n</tool_call>"


def test_free_calls_are_bound_from_their_mark_on() -> None:
    planned = _plan(tools=TOOLS)
    assert planned.prompt.grammar is not None
    assert (planned.prompt.grammar.after, planned.prompt.grammar.repeats) == ((MARK,), True)
    assert _makes(planned, f"\n{ADD}\n</tool_call>")
    assert not _makes(planned, f"\n{ADD.replace('add', 'fly')}\n</tool_call>")
    assert not _makes(planned, f"\n{ADD.replace('1', 'true')}\n</tool_call>")


def test_the_setting_frees_all_but_strict_tools() -> None:
    strict = ToolDefinition(name="add", parameters=TOOLS[1].parameters, strict=True)
    assert _plan(tools=TOOLS, constrain=False).prompt.grammar is None
    assert _plan(tools=(strict,), constrain=False).prompt.grammar is not None


def test_required_calls_are_bound_from_the_first_token_on() -> None:
    planned = _plan(tools=TOOLS, tool_choice=ToolChoice(mode="required"))
    assert planned.prompt.grammar is not None
    assert planned.prompt.grammar.after == ()
    assert _makes(planned, CALL)
    assert _makes(planned, f"{CALL}\n{CALL}")
    assert not _makes(planned, "Hi")


def test_a_named_call_and_no_second() -> None:
    planned = _plan(tools=TOOLS, tool_choice=ToolChoice(mode="required", names=("get_weather",), parallel=False))
    weather = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
    assert _makes(planned, weather)
    assert not _makes(planned, CALL)
    assert not _makes(planned, f"{weather}\n{weather}")


@pytest.mark.parametrize("family", ["plain-chatml", "plain-gemma-3", "google-gemma-2-2b-it"])
def test_calls_of_a_model_that_was_taught_them_are_bound_too(family: str) -> None:
    free = _plan(family, tools=TOOLS).prompt.grammar
    assert free is not None
    assert (free.after, free.repeats) == ((MARK,), True)
    assert _makes(_plan(family, tools=TOOLS, tool_choice=ToolChoice(mode="required")), f"{CALL}\n{CALL}")
    assert not _makes(_plan(family, tools=TOOLS, tool_choice=ToolChoice(mode="required")), "Hi")


@pytest.mark.parametrize(
    ("answer", "made"), [("Hi", True), (CALL, True), (CALL.replace("1", "true"), False), (f"So: {CALL}", False), ("{", False)]
)
def test_strict_tools_are_held_where_the_mark_is_several_tokens(answer: str, made: bool) -> None:
    by = tokenizer(STORIES)
    builder = PromptBuilder(by, template("plain-chatml"), max_context=8192)
    strict = ToolDefinition(name="add", parameters=TOOLS[1].parameters, strict=True)
    grammar = builder.plan(GenerateRequest(id="one", model="tiny", messages=(message("user", "Hi"),), tools=(strict,))).prompt.grammar
    assert grammar is not None
    assert accepted(grammar.source, answer) == made


def test_calls_or_the_format() -> None:
    planned = _plan(tools=TOOLS, output_format=NUMBER)
    assert _makes(planned, CALL)
    assert _makes(planned, "12")
    assert not _makes(planned, "12 or")
    only_calls = _plan(tools=TOOLS, output_format=NUMBER, tool_choice=ToolChoice(mode="required"))
    assert not _makes(only_calls, "12")
    only_format = _plan(tools=TOOLS, output_format=NUMBER, tool_choice=ToolChoice(mode="none"))
    assert not _makes(only_format, CALL)


@pytest.mark.parametrize(
    ("family", "reasoning", "opened", "tail"),
    [
        ("Qwen-Qwen3-0.6B", ReasoningOptions(), True, "<think>\n"),
        ("Qwen-Qwen3-0.6B", OFF, False, "</think>\n\n"),
        ("Qwen3.5-4B", ReasoningOptions(), True, "<think>\n"),
        ("Qwen-Qwen2.5-7B-Instruct", ReasoningOptions(), False, "assistant\n"),
        ("deepseek-ai-DeepSeek-V3.1", ReasoningOptions(), False, "<think></think>"),
        ("deepseek-ai-DeepSeek-V3.1", ON, True, "<think>"),
        ("llama-cpp-deepseek-r1", OFF, False, "<think>\n</think>\n\n"),
        ("mistralai-Ministral-3-14B-Reasoning-2512", ReasoningOptions(), False, "[/INST]"),
        ("mistralai-Ministral-3-14B-Reasoning-2512", OFF, False, "[THINK]\n[/THINK]"),
        ("NVIDIA-Nemotron-Nano-v2", ReasoningOptions(), True, "<think>\n"),
    ],
)
def test_a_form_holds_behind_the_thought(family: str, reasoning: ReasoningOptions, opened: bool, tail: str) -> None:
    planned = _plan(family, output_format=NUMBER, reasoning=reasoning)
    assert (planned.answer.opened, _tail(planned)[-len(tail) :]) == (opened, tail)
    assert planned.prompt.grammar is not None
    assert planned.prompt.grammar.after == ((CLOSE,) if opened else ())
    assert _makes(planned, "12")


def test_a_thought_whose_end_is_no_token_is_part_of_the_grammar() -> None:
    planned = _plan("ByteDance-Seed-OSS", output_format=NUMBER, reasoning=ON)
    assert planned.answer.opened
    assert _makes(planned, "I think it is\n 11 or 12.</seed:think>12")
    assert not _makes(planned, "I think</seed:think>so")


def test_channels_come_before_the_answer() -> None:
    planned = _plan("openai-gpt-oss-120b", output_format=NUMBER, reasoning=ReasoningOptions(effort="low"))
    assert planned.answer.appended == "<|channel|>analysis<|message|>"
    assert _makes(planned, "Hm.<|end|><|start|>assistant<|channel|>final<|message|>12")


def test_efforts_and_budgets() -> None:
    assert _plan("Qwen-Qwen3-0.6B").prompt.reasoning_limit is None
    limit = _plan("Qwen-Qwen3-0.6B", reasoning=ReasoningOptions(effort="low")).prompt.reasoning_limit
    assert limit is not None
    assert (limit.budget_tokens, limit.open_ids, limit.close_ids) == (1024, (OPEN,), (CLOSE,))
    limit = _plan("Qwen3.5-4B", reasoning=ReasoningOptions(effort="low", budget_tokens=7)).prompt.reasoning_limit
    assert limit is not None
    assert (limit.budget_tokens, limit.open_ids) == (7, ())
    assert BY.decode(limit.forced_ids) == "\n</think>\n\n"
    bound = _plan("Qwen3.5-4B", reasoning=ReasoningOptions(budget_tokens=7), output_format=NUMBER).prompt.reasoning_limit
    assert bound is not None
    assert BY.decode(bound.forced_ids) == "\n</think>"
    assert _plan("Qwen3.5-4B", reasoning=ReasoningOptions(effort="none")).prompt.reasoning_limit is None
    assert _plan("openai-gpt-oss-120b", reasoning=ReasoningOptions(effort="high")).prompt.reasoning_limit is None


def test_template_options_of_the_request_win() -> None:
    planned = _plan("Qwen-Qwen3-0.6B", reasoning=OFF, template_options={"enable_thinking": True})
    assert "</think>" not in _tail(planned)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": TOOLS, "tool_choice": ToolChoice(names=("fly",))}, "tool_choice"),
        ({"tool_choice": ToolChoice(mode="required")}, "tool_choice"),
        ({"suffix": "end"}, "suffix"),
    ],
)
def test_choices_that_cannot_be(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        _plan(**fields)
    assert error.value.param == param


def test_a_tokenizer_without_marks_for_gaps() -> None:
    builder = PromptBuilder(tokenizer(STORIES), None, max_context=512)
    with pytest.raises(UnsupportedField) as error:
        builder.plan(GenerateRequest(id="one", model="tiny", text="a", suffix="b"))
    assert error.value.param == "suffix"


def test_priorities_and_scores_are_handed_on() -> None:
    planned = _plan(priority="high", prompt_logprobs=2, max_tokens=0)
    assert (planned.prompt.priority, planned.prompt.prompt_logprobs, planned.prompt.max_tokens) == ("high", 2, 0)
    with pytest.raises(InvalidRequest, match="max_tokens is 0"):
        _plan(max_tokens=0)
