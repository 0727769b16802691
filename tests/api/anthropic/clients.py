"""Anthropic's official clients and bodies, in front of a gateway."""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from anthropic import Anthropic, AsyncAnthropic

from pomona.core.generation import GenerateRequest
from tests.api.gateway import MODEL, Gateway

HELLO: Mapping[str, Any] = {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": "Hello?"}]}


def client_of(gateway: Gateway) -> Anthropic:
    """The official client, without retries."""
    return gateway.clients.enter_context(Anthropic(base_url=gateway.urls.public, api_key="any", max_retries=0, timeout=10))


def async_client_of(gateway: Gateway) -> AsyncAnthropic:
    """The official asynchronous client, without retries."""
    return AsyncAnthropic(base_url=gateway.urls.public, api_key="any", max_retries=0, timeout=10)


def post(gateway: Gateway, fields: Mapping[str, Any] | None = None, path: str = "/v1/messages", **more: Any) -> httpx.Response:
    """A raw body: that of HELLO with other fields."""
    return gateway.http().post(path, json={**HELLO, **(fields or {}), **more})


def understood(gateway: Gateway, **fields: Any) -> GenerateRequest:
    """What the generator is asked for a body with these fields."""
    response = post(gateway, fields)
    assert response.status_code == 200, response.text
    return gateway.generator.seen[-1]


def said(gateway: Gateway, messages: Sequence[Mapping[str, Any]], **fields: Any) -> list[tuple[str, str]]:
    """The conversation that the generator is given, as pairs of role and text."""
    request = understood(gateway, messages=list(messages), **fields)
    return [(message.role, message.text) for message in request.messages or ()]


def refusal(gateway: Gateway, **fields: Any) -> str:
    """The message of a 400."""
    response = post(gateway, fields)
    assert response.status_code == 400, response.text
    body = response.json()
    assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
    assert body["request_id"] == response.headers["request-id"]
    return body["error"]["message"]
