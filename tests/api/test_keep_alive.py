"""The field `keep_alive` on every endpoint that answers."""

from typing import Any

import pytest

from tests.api.gateway import MODEL, Gateway
from tests.doubles import answer

CHAT = {"messages": [{"role": "user", "content": "Hi"}]}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"prompt": "Hi"},
    "/v1/responses": {"input": "Hi"},
    "/v1/messages": {**CHAT, "max_tokens": 5},
}
endpoints = pytest.mark.parametrize("path", BODIES)


@endpoints
@pytest.mark.parametrize(
    ("given", "seconds"), [(0, 0), (90, 90), (-1, -1), (1.5, 1.5), ("5m", 300), ("1h30m", 5400), ("-1", -1), ("250ms", 0.25), (None, None)]
)
def test_it_reaches_the_generator_in_seconds(gateway: Gateway, path: str, given: object, seconds: float | None) -> None:
    gateway.generator.reset(answer("ok"))
    response = gateway.http().post(path, json={"model": MODEL, "keep_alive": given, **BODIES[path]})
    assert response.status_code == 200, response.text
    assert [request.keep_alive_seconds for request in gateway.generator.seen] == [seconds]


@endpoints
def test_without_it_the_model_decides(gateway: Gateway, path: str) -> None:
    gateway.generator.reset(answer("ok"))
    gateway.http().post(path, json={"model": MODEL, **BODIES[path]})
    assert [request.keep_alive_seconds for request in gateway.generator.seen] == [None]


@endpoints
@pytest.mark.parametrize("given", ["soon", "5 parsecs", "", "m5", [5], {"seconds": 5}])
def test_what_is_no_time_is_refused(gateway: Gateway, path: str, given: object) -> None:
    gateway.generator.reset(answer("ok"))
    response = gateway.http().post(path, json={"model": MODEL, "keep_alive": given, **BODIES[path]})
    assert response.status_code == 400
    assert "keep_alive" in response.text
    assert gateway.generator.seen == []
