"""Answers with thoughts and calls: the same events whatever the steps are, ends, log-probabilities, counts."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.core.generation import (
    Finished,
    GenerateEvent,
    GenerateRequest,
    PromptScored,
    ReasoningDelta,
    ReasoningOptions,
    TextDelta,
    TokenLogprobs,
    TokenStep,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
    ToolChoice,
)
from pomona.text.output import TextOutput
from pomona.text.prompt import PromptBuilder
from pomona.text.templates import load_chat_template
from tests.unit.text.samples import TINY, pieces, tokenizer
from tests.unit.text.tools.renderings import TOOLS, message

BY = tokenizer(TINY)
BUILDER = PromptBuilder(BY, load_chat_template(TINY, variables=BY.template_variables), max_context=2048)
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'
END = BY.special_tokens["<|im_end|>"]
cuts = st.lists(st.integers(1, 5), min_size=1, max_size=5)
texts = st.lists(st.sampled_from(["<think>", "</think>", CALL, "Hello é\n", " stop ", "<tool_call>", "{", "\n\n"]), max_size=6)


def _request(**fields: Any) -> GenerateRequest:
    given: dict[str, Any] = {"messages": (message("user", "Hi"),), "tools": TOOLS, **fields}
    return GenerateRequest(id="one", model="tiny", **given)


def _answer(text: str, lengths: list[int], *, reason: Any = None, logprobs: bool = False, **fields: Any) -> list[GenerateEvent]:
    request = _request(**fields)
    planned = BUILDER.plan(request)
    output = TextOutput(BY, request, 7, plan=planned.answer, prompt_ids=planned.prompt.token_ids)
    ids = BY.encode(text, add_special_tokens=False) + ([] if reason else [END])
    events: list[GenerateEvent] = []
    for run in pieces(ids, lengths):
        scores = tuple(TokenLogprobs(logprob=-1.0) for _ in run) if logprobs else ()
        events += output.push(TokenStep(token_ids=tuple(run), logprobs=scores))
        if output.finished:
            return events
    return events + output.push(TokenStep(finish_reason=reason or "stop"))


def _joined(events: list[GenerateEvent]) -> tuple[str, str, list[tuple[str, str, bool]], Finished]:
    calls = [event for event in events if isinstance(event, ToolCallStarted)]
    written = {call.index: "".join(e.arguments for e in events if isinstance(e, ToolCallDelta) and e.index == call.index) for call in calls}
    done = {event.index for event in events if isinstance(event, ToolCallFinished)}
    (finished,) = (event for event in events if isinstance(event, Finished))
    thought = "".join(event.text for event in events if isinstance(event, ReasoningDelta))
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    return thought, text, [(call.name, written[call.index], call.index in done) for call in calls], finished


@settings(deadline=None)
@given(lengths=cuts)
def test_a_thought_a_text_and_two_calls(lengths: list[int]) -> None:
    thought, text, calls, finished = _joined(_answer(f"<think>\nHm.\n</think>\n\nI add.\n{CALL}\n{CALL}", lengths))
    assert (thought, text) == ("Hm.", "I add.")
    assert calls == [("add", '{"a": 1, "b": 2}', True)] * 2
    assert (finished.reason, finished.warnings) == ("tool_calls", ())
    assert finished.usage.reasoning_tokens == len(BY.encode("<think>\nHm.\n</think>", add_special_tokens=False))


@settings(deadline=None)
@given(parts=texts, lengths=cuts, logprobs=st.booleans(), stop=st.sampled_from([(), ("stop",), ("o é",)]))
def test_steps_do_not_change_the_events(parts: list[str], lengths: list[int], logprobs: bool, stop: tuple[str, ...]) -> None:
    whole = _answer("".join(parts), [10_000], logprobs=logprobs, stop=stop)
    stepped = _answer("".join(parts), lengths, logprobs=logprobs, stop=stop)
    assert _joined(stepped) == _joined(whole)
    assert [t for e in stepped if isinstance(e, TextDelta) for t in e.logprobs] == [
        t for e in whole if isinstance(e, TextDelta) for t in e.logprobs
    ]


def test_call_ids_are_unlike() -> None:
    ids = [event.id for event in _answer(f"{CALL}{CALL}", [1]) if isinstance(event, ToolCallStarted)]
    assert len(set(ids)) == 2
    assert all(len(each) == 29 and each.startswith("call_") and int(each[5:], 16) >= 0 for each in ids)


def test_without_parallel_calls_the_answer_ends_with_the_first() -> None:
    _, _, calls, finished = _joined(_answer(f"{CALL}\n{CALL} and", [3], tool_choice=ToolChoice(parallel=False)))
    assert (len(calls), finished.reason) == (1, "tool_calls")


@pytest.mark.parametrize(
    ("text", "reason", "finish", "warns"),
    [
        (CALL, "length", "length", False),
        (CALL[:40], "length", "length", True),
        (CALL[:40], None, "stop", True),
        ("Hi", None, "stop", False),
    ],
)
def test_the_reason_says_whether_calls_were_made(text: str, reason: str | None, finish: str, warns: bool) -> None:
    finished = _joined(_answer(text, [4], reason=reason))[3]
    assert (finished.reason, bool(finished.warnings)) == (finish, warns)


@settings(deadline=None)
@given(lengths=cuts)
def test_stop_strings_end_text_but_neither_thoughts_nor_calls(lengths: list[int]) -> None:
    written = CALL.replace("add", "get_weather").replace('"a": 1, "b": 2', '"city": "stop"')
    thought, text, calls, finished = _joined(_answer(f"<think>stop</think>Hi.\n{written}\nNow stop here", lengths, stop=("stop",)))
    assert (thought, text, len(calls)) == ("stop", "Hi.Now ", 1)
    assert (finished.reason, finished.stop_sequence) == ("stop", "stop")


def test_log_probabilities_stay_with_the_text() -> None:
    events = _answer(f"<think>Hm.</think>Yes, add.\n{CALL}", [1], logprobs=True)
    covered = b"".join(token.bytes for event in events if isinstance(event, TextDelta) for token in event.logprobs)
    assert covered.decode().strip() == "Yes, add."


def test_unknown_names_come_back_as_text() -> None:
    text = CALL.replace("add", "fly")
    _, shown, calls, finished = _joined(_answer(text, [2]))
    assert (shown, calls, finished.reason) == (text, [], "stop")
    assert "'fly'" in finished.warnings[0]


def test_only_allowed_tools_are_called() -> None:
    choice = ToolChoice(mode="auto", names=("get_weather",))
    assert _joined(_answer(CALL, [2], tool_choice=choice))[2] == []


def test_without_tools_calls_are_text() -> None:
    assert _joined(_answer(CALL, [2], tools=()))[1] == CALL
    assert _joined(_answer(CALL, [2], tool_choice=ToolChoice(mode="none")))[1] == CALL


def test_a_thought_that_the_prompt_opened() -> None:
    options = ReasoningOptions(enabled=True)
    thought, text, _, _ = _joined(_answer("Hm.\n</think>\n\nYes.", [1], tools=(), reasoning=options))
    assert (thought, text) == ("Hm.", "Yes.")


def test_a_scored_prompt() -> None:
    request = _request(messages=None, text="Once upon", tools=(), prompt_logprobs=0, max_tokens=0)
    planned = BUILDER.plan(request)
    ids = planned.prompt.token_ids
    output = TextOutput(BY, request, len(ids), plan=planned.answer, prompt_ids=ids)
    scored, finished = output.push(TokenStep(prompt_logprobs=(TokenLogprobs(logprob=-2.0),) * (len(ids) - 1), finish_reason="length"))
    assert isinstance(scored, PromptScored)
    assert scored.first + "".join(token.text for token in scored.rest) == "Once upon"
    assert isinstance(finished, Finished)
    assert finished.usage.completion_tokens == 0
    assert json.dumps(planned.prompt.max_tokens) == "0"
