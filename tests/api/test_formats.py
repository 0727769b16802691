"""The form of answers, and thoughts: what reaches the generator, and what the official client makes of it."""

import json

import pytest
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel

from pomona.core.generation import Finished, OutputFormat, ReasoningDelta, ReasoningOptions, Started, TextDelta, Usage
from pomona.core.messages import Message, TextPart
from tests.api.gateway import MODEL, Gateway
from tests.doubles import answer

ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Who?"}]
SCHEMA = {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "integer"}}}
TEXT = '{"type":"object","properties":{"z":{"type":"string"},"a":{"type":"integer"}}}'
FORMATS: list[tuple[dict[str, object], OutputFormat | None]] = [
    ({"response_format": {"type": "text"}}, None),
    ({"response_format": {"type": "json_object"}}, OutputFormat(kind="json_object")),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, OutputFormat(kind="json_object")),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}},
        OutputFormat(kind="json_schema", source=TEXT, param="response_format.json_schema.schema"),
    ),
    (
        {"response_format": {"type": "regex", "pattern": "[ab]+"}},
        OutputFormat(kind="regex", source="[ab]+", param="response_format.pattern"),
    ),
    (
        {"response_format": {"type": "choice", "choices": ["ja", "neé"]}},
        OutputFormat(kind="choice", source='["ja","neé"]', param="response_format.choices"),
    ),
    (
        {"response_format": {"type": "lark", "grammar": 'start: "x"'}},
        OutputFormat(kind="lark", source='start: "x"', param="response_format.grammar"),
    ),
    (
        {"response_format": {"type": "xml_schema", "schema": SCHEMA}},
        OutputFormat(kind="xml", source=TEXT, param="response_format.schema"),
    ),
    ({"guided_json": SCHEMA}, OutputFormat(kind="json_schema", source=TEXT, param="guided_json")),
    ({"guided_json": TEXT}, OutputFormat(kind="json_schema", source=TEXT, param="guided_json")),
    ({"guided_regex": "a+"}, OutputFormat(kind="regex", source="a+", param="guided_regex")),
    ({"guided_choice": ["x"]}, OutputFormat(kind="choice", source='["x"]', param="guided_choice")),
    ({"guided_grammar": "start: /a/"}, OutputFormat(kind="lark", source="start: /a/", param="guided_grammar")),
]


@pytest.mark.parametrize(("body", "wanted"), FORMATS)
@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_formats(gateway: Gateway, path: str, body: dict[str, object], wanted: OutputFormat | None) -> None:
    asked = {"messages": ASK} if path.startswith("chat") else {"prompt": "x"}
    assert gateway.http().post(f"/v1/{path}", json={"model": MODEL, **asked, **body}).status_code == 200
    assert gateway.generator.seen[0].output_format == wanted


class Person(BaseModel):
    """What the answer holds."""

    name: str
    age: int


def test_answers_are_parsed_by_the_client(gateway: Gateway) -> None:
    gateway.generator.script = answer('{"name":', '"Ann","age":', "7}")
    client = gateway.openai()
    found = client.chat.completions.parse(model=MODEL, messages=ASK, response_format=Person)
    assert found.choices[0].message.parsed == Person(name="Ann", age=7)
    seen = gateway.generator.seen[0].output_format
    assert seen is not None
    assert json.loads(seen.source)["required"] == ["name", "age"]
    with client.chat.completions.stream(model=MODEL, messages=ASK, response_format=Person) as stream:
        kinds = [event.type for event in stream]
        assert stream.get_final_completion().choices[0].message.parsed == Person(name="Ann", age=7)
    assert "content.done" in kinds


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({}, ReasoningOptions()),
        ({"reasoning_effort": "high"}, ReasoningOptions(effort="high")),
        ({"reasoning_effort": "none"}, ReasoningOptions(enabled=False, effort="none")),
        ({"reasoning": {"effort": "low", "max_tokens": 50}}, ReasoningOptions(effort="low", budget_tokens=50)),
        ({"reasoning": {"enabled": False}}, ReasoningOptions(enabled=False)),
        ({"thinking": {"type": "enabled", "budget_tokens": 0}}, ReasoningOptions(enabled=True, budget_tokens=0)),
        ({"thinking": {"type": "disabled"}}, ReasoningOptions(enabled=False)),
    ],
)
def test_how_much_the_model_thinks(gateway: Gateway, body: dict[str, object], wanted: ReasoningOptions) -> None:
    assert gateway.http().post("/v1/chat/completions", json={"model": MODEL, "messages": ASK, **body}).status_code == 200
    assert gateway.generator.seen[0].reasoning == wanted


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_can_be_left_out(gateway: Gateway, stream: bool) -> None:
    gateway.generator.script = [
        Started(prompt_tokens=1),
        ReasoningDelta(text="Hm"),
        TextDelta(text="Yes"),
        Finished(reason="stop", usage=Usage(prompt_tokens=1, completion_tokens=2, reasoning_tokens=1)),
    ]
    body: dict[str, object] = {"model": MODEL, "messages": ASK, "stream": stream}
    assert "reasoning_content" in gateway.http().post("/v1/chat/completions", json=body).text
    assert "reasoning_content" not in gateway.http().post("/v1/chat/completions", json={**body, "reasoning": {"exclude": True}}).text


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_earlier_thoughts_are_handed_on(gateway: Gateway, name: str) -> None:
    messages = [{"role": "assistant", "content": "Yes", name: "I thought."}, {"role": "user", "content": "Why?"}]
    assert gateway.http().post("/v1/chat/completions", json={"model": MODEL, "messages": messages}).status_code == 200
    assert gateway.generator.seen[0].messages == (
        Message(role="assistant", content=(TextPart(text="Yes"),), reasoning="I thought."),
        Message(role="user", content=(TextPart(text="Why?"),)),
    )


@pytest.mark.parametrize(
    ("tier", "priority", "told"),
    [
        (None, "normal", None),
        ("auto", "normal", "default"),
        ("default", "normal", "default"),
        ("flex", "low", "flex"),
        ("scale", "high", "scale"),
        ("fast", "high", "priority"),
        ("priority", "high", "priority"),
    ],
)
def test_service_tiers_are_priorities(gateway: Gateway, tier: str | None, priority: str, told: str | None) -> None:
    body = {"model": MODEL, "messages": ASK, "service_tier": tier, "prompt_cache_key": "talk-1"}
    found = gateway.http().post("/v1/chat/completions", json=body).json()
    assert found.get("service_tier") == told
    assert (gateway.generator.seen[0].priority, gateway.generator.seen[0].session) == (priority, "talk-1")


def test_what_only_the_vendors_cloud_knows_is_ignored(gateway: Gateway) -> None:
    ignored = {
        "user": "u",
        "safety_identifier": "s",
        "verbosity": "low",
        "prediction": {"type": "content", "content": "x"},
        "moderation": {"model": "m"},
        "web_search_options": {"search_context_size": "low"},
        "modalities": ["text"],
        "prompt_cache_retention": "24h",
        "prompt_cache_options": {"mode": "explicit", "ttl": "30m"},
        "metadata": {"a": "b"},
    }
    body = {"model": MODEL, "messages": ASK, "stream": True, "stream_options": {"include_obfuscation": True}, **ignored}
    assert gateway.http().post("/v1/chat/completions", json=body).status_code == 200


def test_the_requested_name_is_echoed_where_another_model_stands_in(gateway: Gateway) -> None:
    gateway.directory.stands_in = "gpt-*"
    found = gateway.openai().chat.completions.create(model="gpt-9", messages=ASK)
    assert found.model == "gpt-9"
    assert gateway.generator.seen[0].model == MODEL
