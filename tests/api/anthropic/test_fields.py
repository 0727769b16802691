"""What becomes of the fields beside the messages: thinking, form, sampling, limits, session, and what only means something in the cloud."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from pomona.core.generation import OutputFormat, ReasoningOptions, SamplingParams
from pomona.core.status import ModelCard
from tests.api.anthropic.clients import http_of, post, refusal, understood
from tests.api.gateway import MODEL, Gateway

HI = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ReasoningOptions()),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, ReasoningOptions(enabled=True, budget_tokens=2048)),
        ({"thinking": {"type": "adaptive", "display": "summarized"}}, ReasoningOptions(enabled=True)),
        ({"thinking": {"type": "disabled"}}, ReasoningOptions(enabled=False)),
        ({"thinking": {"type": "between_tools"}}, ReasoningOptions(enabled=False)),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}, ReasoningOptions(enabled=True, effort="xhigh")),
        ({"output_config": {"effort": "low", "task_budget": {"type": "tokens", "total": 9}}}, ReasoningOptions(effort="low")),
        (
            {"output_config": {"effort": "low"}, "messages": [HI, {"role": "system", "content": "x", "output_config": {"effort": "max"}}]},
            ReasoningOptions(effort="max"),
        ),
        (
            {"messages": [HI, {"role": "system", "output_config": {"effort": "max"}}, {"role": "assistant", "content": "y"}, HI]},
            ReasoningOptions(),
        ),
    ],
)
def test_how_much_to_think(gateway: Gateway, fields: Mapping[str, Any], expected: ReasoningOptions) -> None:
    assert understood(gateway, **fields).reasoning == expected


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def test_the_form_of_the_answer(gateway: Gateway) -> None:
    found = understood(gateway, output_config={"format": {"type": "json_schema", "schema": SCHEMA}}).output_format
    assert found == OutputFormat(kind="json_schema", source=json.dumps(SCHEMA, separators=(",", ":")), param="output_config.format")
    beta = understood(gateway, output_format={"type": "json_schema", "schema": SCHEMA}).output_format
    assert beta is not None
    assert (beta.kind, beta.param) == ("json_schema", "output_format")
    assert "output_config.format.type" in refusal(gateway, output_config={"format": {"type": "yaml"}})


def test_sampling_takes_the_models_defaults(gateway: Gateway) -> None:
    defaults = SamplingParams(temperature=0.6, top_k=20, top_p=0.95, min_p=0.1)
    gateway.directory.cards = [ModelCard(id=MODEL, created=0, owned_by="x", sampling_defaults=defaults)]
    assert understood(gateway).sampling == defaults
    changed = understood(gateway, temperature=0, top_p=0.5, top_k=-1, seed=7).sampling
    assert (changed.temperature, changed.top_p, changed.top_k, changed.seed, changed.min_p) == (0, 0.5, 0, 7, 0.1)


def test_limits_and_stops(gateway: Gateway) -> None:
    request = understood(gateway, max_tokens=32_000, stop_sequences=["\n\nHuman:", "END"])
    assert (request.max_tokens, request.clamp_max_tokens, request.stop) == (32_000, True, ("\n\nHuman:", "END"))


@pytest.mark.parametrize(
    ("user_id", "headers", "session"),
    [
        ("user_ab12_account__session_11111111-2222-3333-4444-555555555555", {}, "11111111-2222-3333-4444-555555555555"),
        ('{"device_id":"d","account_uuid":"","session_id":"s-1"}', {}, "s-1"),
        ('{"session_id":7}', {}, ""),
        ("{not json", {}, ""),
        ("somebody", {}, ""),
        (None, {}, ""),
        ("somebody", {"x-claude-code-session-id": "s-2"}, "s-2"),
    ],
)
def test_the_session_of_claude_code(gateway: Gateway, user_id: str | None, headers: Mapping[str, str], session: str) -> None:
    body = {"model": MODEL, "max_tokens": 1, "messages": [HI], "metadata": {"user_id": user_id}}
    assert http_of(gateway).post("/v1/messages", json=body, headers=headers).status_code == 200
    assert gateway.generator.seen[-1].session == session


IGNORED: Mapping[str, Any] = {
    "cache_control": {"type": "ephemeral"},
    "container": {"id": "c", "skills": []},
    "fallbacks": "default",
    "fallback_credit_token": "t",
    "inference_geo": "eu",
    "mcp_servers": [{"type": "url", "url": "https://example.com", "name": "m"}],
    "service_tier": "auto",
    "billing_policy": {"type": "billing_policy"},
    "betas": ["x"],
    "user_profile_id": "u",
    "workspace_id": "w",
    "from_the_future": {"any": ["thing"]},
}


def test_fields_of_the_cloud_are_ignored(gateway: Gateway) -> None:
    ignored, plain = understood(gateway, **IGNORED), understood(gateway)
    assert (ignored.messages, ignored.tools, ignored.sampling) == (plain.messages, plain.tools, plain.sampling)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"compaction": {"type": "shorten"}}, "compaction.type = 'shorten'"),
        ({"compaction": {"type": "summarize"}, "context_management": {"edits": []}}, "does not go with context_management"),
        ({"thread": {"type": "create"}}, "Send all messages each time"),
        ({"max_tokens": -1}, "max_tokens = -1"),
        ({"max_tokens": "many"}, "max_tokens = 'many'"),
        ({"temperature": 3}, "temperature = 3"),
        ({"model": ""}, "model = ''"),
        ({"thinking": {"type": "sometimes"}}, "thinking.type = 'sometimes'"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role = 'tool'"),
    ],
)
def test_what_cannot_be_meant_is_refused(gateway: Gateway, fields: Mapping[str, Any], words: str) -> None:
    assert words in refusal(gateway, **fields)


def test_a_body_without_max_tokens(gateway: Gateway) -> None:
    response = http_of(gateway).post("/v1/messages", json={"model": MODEL, "messages": [HI]})
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "The field max_tokens is missing."


def test_the_beta_address_is_the_same(gateway: Gateway) -> None:
    assert post(gateway, path="/v1/messages?beta=true").status_code == 200
