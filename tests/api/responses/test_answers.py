"""Answers through the official SDK, whose accumulator raises on a wrong order of events."""

import asyncio
from typing import Any, cast

import httpx
import pytest
from openai import APIError, BadRequestError, InternalServerError, NotFoundError
from openai.types.responses import ResponseCompletedEvent, ResponseIncompleteEvent
from pydantic import BaseModel

from pomona.core.errors import ContextOverflow, EngineFailed, InvalidRequest, RateLimited
from pomona.core.generation import CacheReport, Finished, Started, TextDelta, TokenText, Usage
from tests.api.gateway import MODEL, Gateway
from tests.api.responses.scripts import called, said, script, thought
from tests.doubles import Script, answer

DIFFERENT = {"id", "created_at", "completed_at", "parsed", "parsed_arguments"}
RICH = script(
    thought("Let me", " see."),
    said("\n\n", "I look", " it up."),
    called("look", '{"a"', ":1}"),
    called("look", "{}", index=1),
    reason="tool_calls",
)


def test_a_whole_answer(gateway: Gateway) -> None:
    response = gateway.openai().responses.create(model=MODEL, input="Hello?", instructions="Be brief.", metadata={"a": "b"}, user="u")
    assert response.output_text == "Hello world"
    assert response.status == "completed"
    assert response.model == MODEL
    assert response.id.startswith("resp_")
    assert response.output[0].id is not None
    assert response.output[0].id.startswith("msg_")
    assert response.completed_at is not None
    assert response.metadata == {"a": "b"}
    assert response.instructions == "Be brief."
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (3, 2, 5)
    seen = gateway.generator.seen[0]
    assert [(message.role, message.text) for message in seen.messages or ()] == [("system", "Be brief."), ("user", "Hello?")]
    assert seen.clamp_max_tokens


def test_the_name_that_was_asked_for_is_given_back(gateway: Gateway) -> None:
    assert gateway.openai().responses.create(model="alias", input="x").model == "alias"
    assert gateway.generator.seen[0].model == "alias"


def test_an_unknown_model(gateway: Gateway) -> None:
    with pytest.raises(NotFoundError, match="no model 'nobody'"):
        gateway.openai().responses.create(model="nobody", input="x")


@pytest.mark.parametrize("summary", [None, "auto"])
def test_a_stream_is_the_same_as_the_whole(gateway: Gateway, summary: Any) -> None:
    gateway.generator.script = RICH
    asked: Any = {"model": MODEL, "input": "x", "reasoning": {"summary": summary}, "include": ["reasoning.encrypted_content"]}
    whole = document(gateway.openai().responses.create(**asked))
    with gateway.openai().responses.stream(**asked) as stream:
        events = [cast("dict[str, Any]", event.to_dict(warnings=False)) for event in stream]
        streamed = document(stream.get_final_response())
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events][:2] == ["response.created", "response.in_progress"]
    assert bare(streamed) == bare(whole)
    for kind in ("response.output_item.added", "response.output_item.done"):
        told = {event["output_index"]: event["item"]["id"] for event in events if event["type"] == kind}
        assert told == {index: item["id"] for index, item in enumerate(streamed["output"])}


def test_the_items_of_a_rich_answer(gateway: Gateway) -> None:
    gateway.generator.script = RICH
    reasoning, message, first, second = gateway.openai().responses.create(model=MODEL, input="x").output
    assert reasoning.type == "reasoning"
    assert reasoning.content is not None
    assert reasoning.content[0].text == "Let me see."
    assert reasoning.summary == []
    assert reasoning.encrypted_content is None
    assert message.type == "message"
    assert message.content[0].to_dict() == {"type": "output_text", "text": "\n\nI look it up.", "annotations": [], "logprobs": []}
    assert first.type == "function_call"
    assert (first.name, first.arguments, first.call_id, first.status) == ("look", '{"a":1}', "call_0", "completed")
    assert second.type == "function_call"
    assert (second.arguments, second.call_id) == ("{}", "call_1")


def test_usage_and_cache(gateway: Gateway) -> None:
    gateway.generator.script = script(said("x"), cache=CacheReport(reason="tools_changed", shared_tokens=5))
    response = gateway.openai().responses.create(model=MODEL, input="x", prompt_cache_key="session 1", service_tier="flex")
    assert response.usage is not None
    assert response.usage.input_tokens_details.cached_tokens == 8
    assert response.usage.output_tokens_details.reasoning_tokens == 4
    assert response.prompt_cache_diagnostics is not None
    assert response.prompt_cache_diagnostics.to_dict() == {
        "type": "cache_miss",
        "reason": "tools_changed",
        "cache_missed_tokens": 7,
        "comparison_reusable_tokens": 5,
    }
    assert response.service_tier == "flex"
    assert (gateway.generator.seen[0].session, gateway.generator.seen[0].priority) == ("session 1", "low")


@pytest.mark.parametrize(
    ("reason", "kind"), [("none", "cache_hit"), ("first_request", "comparison_response_not_found"), ("evicted", "unavailable")]
)
def test_other_diagnostics(gateway: Gateway, reason: Any, kind: str) -> None:
    gateway.generator.script = script(said("x"), cache=CacheReport(reason=reason))
    diagnostics = gateway.openai().responses.create(model=MODEL, input="x").prompt_cache_diagnostics
    assert diagnostics is not None
    assert diagnostics.type == kind


@pytest.mark.parametrize("stream", [False, True])
def test_a_cut_answer_is_incomplete(gateway: Gateway, stream: bool) -> None:
    gateway.generator.script = script(said("Hel"), called("look", '{"a', cut=True), reason="length")
    response = final(gateway, stream, max_output_tokens=5)
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["completed_at"] is None
    assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]
    assert gateway.generator.seen[0].max_tokens == 5


def test_a_call_that_ends_without_its_end_is_incomplete(gateway: Gateway) -> None:
    gateway.generator.script = script(called("look", '{"a', cut=True))
    assert final(gateway, False)["output"][0]["status"] == "incomplete"


def test_an_empty_answer_is_an_empty_message(gateway: Gateway) -> None:
    gateway.generator.script = answer()
    assert gateway.openai().responses.create(model=MODEL, input="x").output_text == ""
    with gateway.openai().responses.stream(model=MODEL, input="x") as stream:
        assert stream.get_final_response().output[0].type == "message"


def test_white_space_between_items_makes_no_message(gateway: Gateway) -> None:
    gateway.generator.script = script(thought("Hm."), said("\n", "\n"), called("look", "{}"), said("\n"))
    assert [item.type for item in gateway.openai().responses.create(model=MODEL, input="x").output] == ["reasoning", "function_call"]


def test_white_space_alone_is_an_answer(gateway: Gateway) -> None:
    gateway.generator.script = script(said("\n", " "))
    assert gateway.openai().responses.create(model=MODEL, input="x").output_text == "\n "


def test_an_error_before_the_first_event_has_a_status(gateway: Gateway) -> None:
    gateway.generator.script = (InvalidRequest("A role is wrong.", param="messages"),)
    with pytest.raises(BadRequestError, match="role is wrong") as refused:
        gateway.openai().responses.create(model=MODEL, input="x", stream=True)
    assert refused.value.param == "input"
    gateway.generator.script = (RateLimited("Enough."),)
    with pytest.raises(APIError) as caught:
        gateway.openai().responses.create(model=MODEL, input="x")
    assert caught.value.code == "rate_limit_exceeded"


def test_an_error_inside_the_stream_is_told_by_response_failed(gateway: Gateway) -> None:
    gateway.generator.script = [*answer("Hel")[:2], EngineFailed("The engine died.")]
    with gateway.openai().responses.stream(model=MODEL, input="x") as stream:
        events = list(stream)
    last = events[-1]
    assert last.type == "response.failed"
    assert last.response.status == "failed"
    assert last.response.error is not None
    assert (last.response.error.code, last.response.error.message) == ("server_error", "The engine died.")
    assert last.response.output[0].to_dict()["status"] == "incomplete"
    assert last.sequence_number == len(events) - 1


def test_that_a_prompt_is_too_long_is_told_inside_the_stream(gateway: Gateway) -> None:
    gateway.generator.script = (ContextOverflow("The prompt is too long."),)
    *_, last = gateway.openai().responses.create(model=MODEL, input="x", stream=True)
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert last.response.error.code == "context_length_exceeded"
    with pytest.raises(BadRequestError, match="too long"):
        gateway.openai().responses.create(model=MODEL, input="x")


def test_an_error_of_a_whole_answer_has_a_status(gateway: Gateway) -> None:
    gateway.generator.script = [*answer("Hel")[:2], EngineFailed("The engine died.")]
    with pytest.raises(InternalServerError, match="died"):
        gateway.openai().responses.create(model=MODEL, input="x")


def test_an_unexpected_error_says_nothing_of_itself(gateway: Gateway) -> None:
    gateway.generator.script = [*answer("Hel")[:2], RuntimeError("secret")]
    text = post(gateway, stream=True).text
    assert "response.failed" in text
    assert "secret" not in text


def test_created_is_sent_before_anything_is_known(gateway: Gateway) -> None:
    gate = asyncio.Event()
    gateway.generator.script = [gate, *answer("Hi")]
    with gateway.openai().responses.create(model=MODEL, input="x", stream=True) as stream:
        events = iter(stream)
        assert [next(events).type, next(events).type] == ["response.created", "response.in_progress"]
        gateway.set(gate)
        assert [event.type for event in events][-1] == "response.completed"


def test_a_reader_who_leaves_ends_the_work(gateway: Gateway) -> None:
    gateway.generator.script = [*answer("Hi")[:2], gateway.never]
    with gateway.openai().responses.create(model=MODEL, input="x", stream=True) as stream:
        assert next(iter(stream)).type == "response.created"
    gateway.wait_for(gateway.generator.ended)
    assert gateway.generator.closed_early == [gateway.generator.seen[0].id]


async def test_the_asynchronous_client(gateway: Gateway) -> None:
    gateway.generator.script = RICH
    async with gateway.async_openai() as client, client.responses.stream(model=MODEL, input="x") as stream:
        kinds = [event.type async for event in stream]
        assert (await stream.get_final_response()).output[2].type == "function_call"
    assert kinds.count("response.output_item.done") == 4


class Weather(BaseModel):
    city: str
    degrees: int


def test_parsed_answers(gateway: Gateway) -> None:
    gateway.generator.script = script(said('{"city":"Oslo",', '"degrees":3}'))
    parsed = gateway.openai().responses.parse(model=MODEL, input="x", text_format=Weather)
    assert parsed.output_parsed == Weather(city="Oslo", degrees=3)
    with gateway.openai().responses.stream(model=MODEL, input="x", text_format=Weather) as stream:
        assert stream.get_final_response().output_parsed == Weather(city="Oslo", degrees=3)
    asked = gateway.generator.seen[0].output_format
    assert asked is not None
    assert (asked.kind, asked.param) == ("json_schema", "text.format")
    assert '"degrees"' in asked.source


@pytest.mark.parametrize(
    ("form", "kind", "source"),
    [
        ({"type": "json_object"}, "json_object", ""),
        ({"type": "regex", "pattern": "a+"}, "regex", "a+"),
        ({"type": "choice", "choices": ["a", "b"]}, "choice", '["a", "b"]'),
        ({"type": "lark", "grammar": 'start: "a"'}, "lark", 'start: "a"'),
        ({"type": "xml_schema", "schema": {"type": "object"}}, "xml", '{"type": "object"}'),
        ({"type": "json_schema", "name": "n", "schema": {"type": "object"}}, "json_schema", '{"type": "object"}'),
    ],
)
def test_forms_of_the_answer(gateway: Gateway, form: dict[str, object], kind: str, source: str) -> None:
    body = post(gateway, text={"format": form, "verbosity": "low"}).json()
    asked = gateway.generator.seen[0]
    assert asked.output_format is not None
    assert (asked.output_format.kind, asked.output_format.source) == (kind, source)
    assert asked.template_options == {"verbosity": "low"}
    assert body["text"] == {"format": form, "verbosity": "low"}


@pytest.mark.parametrize(
    "form", [{"type": "regex"}, {"type": "json_schema", "name": "n"}, {"type": "choice", "choices": []}, {"type": "sql"}]
)
def test_forms_that_cannot_be_honoured(gateway: Gateway, form: dict[str, object]) -> None:
    response = post(gateway, text={"format": form})
    assert response.status_code == 400
    assert response.json()["error"]["param"].startswith("text.format")


def test_log_probabilities(gateway: Gateway) -> None:
    token = TokenText(
        token_id=1, text="Hi", bytes=b"Hi", logprob=-0.5, top=(TokenText(token_id=2, text="Ho", bytes=b"Ho", logprob=float("-inf")),)
    )
    events: Script = [Started(prompt_tokens=1), TextDelta(text="Hi", logprobs=(token,)), Finished(reason="stop", usage=Usage())]
    gateway.generator.script = events
    expected = [
        {"token": "Hi", "bytes": [72, 105], "logprob": -0.5, "top_logprobs": [{"token": "Ho", "bytes": [72, 111], "logprob": -9999.0}]}
    ]
    response = final(gateway, False, top_logprobs=1, include=["message.output_text.logprobs"])
    assert response["output"][0]["content"][0]["logprobs"] == expected
    with gateway.openai().responses.stream(model=MODEL, input="x", top_logprobs=1) as stream:
        deltas = [event for event in stream if event.type == "response.output_text.delta"]
    assert [logprob.to_dict() for logprob in deltas[0].logprobs] == expected
    assert gateway.generator.seen[0].sampling.logprobs == 1


def test_what_changes_the_answer_reaches_the_generator(gateway: Gateway) -> None:
    post(
        gateway,
        temperature=0.5,
        top_p=0.25,
        top_k=7,
        seed=3,
        stop=["END"],
        max_output_tokens=9,
        parallel_tool_calls=False,
        reasoning={"effort": "high", "budget_tokens": 100},
        chat_template_kwargs={"flag": 1},
    )
    seen = gateway.generator.seen[0]
    assert (seen.sampling.temperature, seen.sampling.top_p, seen.sampling.top_k, seen.sampling.seed) == (0.5, 0.25, 7, 3)
    assert (seen.stop, seen.max_tokens, seen.tool_choice.parallel) == (("END",), 9, False)
    assert (seen.reasoning.effort, seen.reasoning.budget_tokens, seen.reasoning.enabled) == ("high", 100, None)
    assert seen.template_options == {"flag": 1}
    post(gateway, reasoning={"effort": "none"})
    assert gateway.generator.seen[1].reasoning.enabled is False


def test_fields_of_the_cloud_are_accepted(gateway: Gateway) -> None:
    response = post(
        gateway,
        conversation="conv_1",
        access_programs={"cyber": "standard"},
        image={"context_compression": "auto"},
        moderation={"model": "m"},
        context_management=[{"type": "compaction", "compact_threshold": 5}],
        prompt_cache_options={"mode": "explicit", "ttl": "12h", "comparison_response_id": "resp_1"},
        prompt_cache_retention="24h",
        safety_identifier="s",
        stream_options={"include_obfuscation": True},
        client_metadata={"x": "y"},
        include=["file_search_call.results"],
        nobody_knows_this=[1],
    )
    assert response.status_code == 200
    assert response.json()["safety_identifier"] == "s"


def test_prewarming_answers_nothing(gateway: Gateway) -> None:
    response = final(gateway, False, prompt_cache_options={"prewarm": True})
    assert (response["status"], response["output"], response["usage"]["output_tokens"]) == ("completed", [], 0)
    assert gateway.generator.seen[0].max_tokens == 1


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"input": None}, "input"),
        ({"input": list[object]()}, "input"),
        ({"input": 5}, "input"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"input": [{"role": "king", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:"}]}]}, "input[0].content[0].image_url"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": 5, "call_id": "c"}]}, "input[0].arguments"),
        ({"background": True, "store": False}, "background"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"previous_response_id": "resp_nobody"}, "previous_response_id"),
    ],
)
def test_what_is_wrong_is_named(gateway: Gateway, changes: dict[str, object], param: str) -> None:
    response = post(gateway, **changes)
    assert response.status_code == (404 if param == "previous_response_id" else 400)
    assert response.json()["error"]["param"] == param
    assert gateway.generator.seen == []


def post(gateway: Gateway, **fields: object) -> httpx.Response:
    return gateway.http().post("/v1/responses", json={"model": MODEL, "input": "x", **fields})


def final(gateway: Gateway, stream: bool, **fields: object) -> dict[str, Any]:
    """The response at its end, streamed or not."""
    if not stream:
        return post(gateway, **fields).json()
    events = gateway.openai().responses.create(model=MODEL, input="x", stream=True, extra_body=fields)
    *_, last = events
    assert isinstance(last, ResponseCompletedEvent | ResponseIncompleteEvent)
    return last.response.to_dict()


def document(response: Any) -> dict[str, Any]:
    return response.to_dict()


def bare(value: Any) -> Any:
    """`value` without what differs from run to run, and without what the SDK adds."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {name: bare(inside) for name, inside in fields.items() if name not in DIFFERENT}
    return [bare(each) for each in cast("list[Any]", value)] if isinstance(value, list) else value
