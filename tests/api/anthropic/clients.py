"""Anthropic's official clients and bodies, in front of a gateway."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import httpx
from anthropic import Anthropic, AsyncAnthropic, DefaultHttpxClient
from anthropic.types import Message
from anthropic.types.beta import BetaMessage

from pomona.core.generation import GenerateRequest
from pomona.core.messages import Message as Turn
from tests.api.gateway import MODEL, Gateway

HELLO: Mapping[str, Any] = {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": "Hello?"}]}


def client_of(gateway: Gateway) -> Anthropic:
    """The official client, without retries."""
    quick = DefaultHttpxClient(verify=False)  # no certificates to load, which takes 90 ms
    client = Anthropic(base_url=gateway.urls.public, api_key="any", max_retries=0, timeout=60, http_client=quick)
    return gateway.clients.enter_context(client)


def async_client_of(gateway: Gateway) -> AsyncAnthropic:
    """The official asynchronous client, without retries."""
    return AsyncAnthropic(base_url=gateway.urls.public, api_key="any", max_retries=0, timeout=60)


def http_of(gateway: Gateway) -> httpx.Client:
    """A plain client."""
    return gateway.clients.enter_context(httpx.Client(base_url=gateway.urls.public, timeout=60, verify=False))


def whole(gateway: Gateway, **fields: Any) -> Message:
    """The answer to HELLO with other fields, by the official client."""
    found: object = cast("Any", client_of(gateway).messages).create(**{**HELLO, **fields})
    assert isinstance(found, Message)
    return found


def beta_whole(gateway: Gateway, **fields: Any) -> BetaMessage:
    """The same by the beta client."""
    found: object = cast("Any", client_of(gateway).beta.messages).create(**{**HELLO, **fields})
    assert isinstance(found, BetaMessage)
    return found


def post(gateway: Gateway, fields: Mapping[str, Any] | None = None, path: str = "/v1/messages", **more: Any) -> httpx.Response:
    """A raw body: that of HELLO with other fields."""
    return http_of(gateway).post(path, json={**HELLO, **(fields or {}), **more})


def understood(gateway: Gateway, **fields: Any) -> GenerateRequest:
    """What the generator is asked for a body with these fields."""
    response = post(gateway, fields)
    assert response.status_code == 200, response.text
    return gateway.generator.seen[-1]


def turns_of(request: GenerateRequest) -> list[Turn]:
    """The conversation of a request."""
    return list(request.messages or ())


def said(gateway: Gateway, messages: Sequence[Mapping[str, Any]], **fields: Any) -> list[tuple[str, str]]:
    """The conversation that the generator is given, as pairs of role and text."""
    request = understood(gateway, messages=list(messages), **fields)
    return [(message.role, message.text) for message in turns_of(request)]


def refusal(gateway: Gateway, **fields: Any) -> str:
    """The message of a 400."""
    response = post(gateway, fields)
    assert response.status_code == 400, response.text
    body = response.json()
    assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
    assert body["request_id"] == response.headers["request-id"]
    return body["error"]["message"]
