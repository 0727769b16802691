"""POST /v1/embeddings, with the official client where it can say it."""

import base64
import struct
from typing import Any

import httpx
import pytest

from pomona.core.errors import ContextOverflow
from pomona.core.settings import LimitsSettings
from pomona.core.vectors import EmbedRequest
from tests.api import leaving
from tests.api.gateway import EMBEDDER, MODEL, RERANKER, VECTOR_CARDS, Gateway, running, settings_with


def post(gateway: Gateway, **body: object) -> httpx.Response:
    return gateway.http().post("/v1/embeddings", json={"model": EMBEDDER, **body})


def refused(gateway: Gateway, **body: object) -> str:
    response = post(gateway, **body)
    assert response.status_code == 400, response.text
    return str(response.json()["error"]["message"])


def test_the_official_client_reads_vectors(gateway: Gateway) -> None:
    """It asks for base64 by itself, and decodes it."""
    found = gateway.openai().embeddings.create(model=EMBEDDER, input=["one two", "three"])
    assert [each.embedding for each in found.data] == [[7.0, 2.0, 0.5], [5.0, 2.0, 0.5]]
    assert [each.index for each in found.data] == [0, 1]
    assert (found.usage.prompt_tokens, found.usage.total_tokens, found.model) == (3, 3, EMBEDDER)


def test_floats_and_base64_say_the_same(gateway: Gateway) -> None:
    floats = post(gateway, input="abcd").json()["data"][0]["embedding"]
    packed = post(gateway, input="abcd", encoding_format="base64").json()["data"][0]["embedding"]
    assert floats == [4.0, 1.0, 0.5] == list(struct.unpack("<3f", base64.b64decode(packed)))


@pytest.mark.parametrize(
    ("given", "inputs"),
    [("a b", ("a b",)), (["a", "b"], ("a", "b")), ([3, 1, 2], ((3, 1, 2),)), ([[3, 1], [2]], ((3, 1), (2,)))],
    ids=["text", "texts", "ids", "lists of ids"],
)
def test_the_four_forms_of_input(gateway: Gateway, given: object, inputs: tuple[object, ...]) -> None:
    assert len(post(gateway, input=given).json()["data"]) == len(inputs)
    assert gateway.embedder.seen[0].inputs == inputs


def test_all_fields_reach_the_embedder(gateway: Gateway) -> None:
    post(gateway, input="x", dimensions=2, input_type="search_query", truncate=True, user="someone", keep_alive="1m30s")
    (seen,) = gateway.embedder.seen
    expected = EmbedRequest(id=seen.id, model=EMBEDDER, inputs=("x",), kind="query", dimensions=2, truncate=True, keep_alive_seconds=90)
    assert seen == expected
    post(gateway, input="x", input_type="passage")
    assert gateway.embedder.seen[1].kind == "document"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"input": ""}, "input"),
    ({"input": []}, "input"),
    ({"input": ["a", ""]}, "input[1]"),
    ({"input": [[]]}, "input"),
    ({"input": [1, "a"]}, "input"),
    ({"input": [-1]}, "input"),
    ({"input": "a", "dimensions": 0}, "dimensions = 0"),
    ({"input": "a", "encoding_format": "hex"}, "'hex'"),
    ({"input": "a", "input_type": "poem"}, "'poem'"),
    ({"input": "a", "keep_alive": "soon"}, "keep_alive = 'soon'"),
    ({}, "The field input is missing"),
    ({"input": ["a"] * 2049}, "2049 texts; one request takes 2048"),
]
"""Bodies that are refused, and what the message names."""


@pytest.mark.parametrize(
    ("body", "part"),
    BAD,
)
def test_bad_bodies_say_what_is_wrong(gateway: Gateway, body: dict[str, object], part: str) -> None:
    assert part in refused(gateway, **body)
    assert not gateway.embedder.seen


def test_models_of_another_task_are_refused_and_others_named(gateway: Gateway) -> None:
    message = refused(gateway, model=MODEL, input="x")
    assert f"{MODEL!r} writes text" in message
    assert f"Models here that can: {EMBEDDER!r}." in message
    assert "makes embeddings" in refused_chat(gateway, EMBEDDER)
    assert f"Models here that can: {MODEL!r}, 'alias'." in refused_chat(gateway, RERANKER)
    assert not gateway.generator.seen


def refused_chat(gateway: Gateway, model: str) -> str:
    response = gateway.http().post("/v1/chat/completions", json={"model": model, "messages": [{"role": "user", "content": "x"}]})
    assert response.status_code == 400
    return str(response.json()["error"]["message"])


def test_unknown_models_are_not_found(gateway: Gateway) -> None:
    assert post(gateway, model="nobody", input="x").status_code == 404


def test_what_the_embedder_raises_is_told(gateway: Gateway) -> None:
    gateway.embedder.error = ContextOverflow("input[0] has 300 tokens; this model takes 256.", param="input[0]", tokens=300, limit=256)
    error = post(gateway, input="x").json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "input[0]")


def test_models_tell_their_task(gateway: Gateway) -> None:
    answer = gateway.http().get("/v1/models").json()
    listed = {each["id"]: each["task"] for each in answer["data"]}
    assert listed == {MODEL: "generate", "alias": "generate", EMBEDDER: "embed", RERANKER: "rerank"}
    assert [(each["slug"], each["priority"]) for each in answer["models"]] == [(MODEL, 0), ("alias", 1)]  # Codex can use no others


def test_requests_are_recorded(gateway: Gateway) -> None:
    def sample(name: str, **labels: str) -> float:
        return gateway.metrics.registry.get_sample_value(f"pomona_{name}", labels) or 0.0

    before = sample("requests_total", endpoint="embeddings", outcome="ok"), sample("prompt_tokens_total", model=EMBEDDER)
    bad = sample("requests_total", endpoint="embeddings", outcome="invalid_request")
    post(gateway, input="one two three")
    post(gateway, input="")
    after = sample("requests_total", endpoint="embeddings", outcome="ok"), sample("prompt_tokens_total", model=EMBEDDER)
    assert (after[0] - before[0], after[1] - before[1]) == (1, 3)
    assert sample("requests_total", endpoint="embeddings", outcome="invalid_request") - bad == 1


def test_a_client_that_leaves_cancels_its_work(gateway: Gateway) -> None:
    gateway.embedder.hold = gateway.never
    with leaving.post(f"{gateway.urls.public}/v1/embeddings", {"model": EMBEDDER, "input": "x"}):
        gateway.wait_for(gateway.embedder.begun)
    gateway.wait_for(gateway.embedder.ended)
    assert gateway.embedder.cut == [gateway.embedder.seen[0].id]


def test_the_document_describes_the_endpoint(gateway: Gateway) -> None:
    paths: dict[str, Any] = gateway.http().get("/openapi.json").json()["paths"]
    assert {"/v1/embeddings", "/v1/rerank", "/v2/rerank", "/rerank"} <= paths.keys()


def test_a_wish_for_priority_is_read(gateway: Gateway) -> None:
    def ask(priority: str) -> httpx.Response:
        return gateway.http().post("/v1/embeddings", json={"model": EMBEDDER, "input": "x"}, headers={"X-Priority": priority})

    assert ask("high").status_code == 200
    refused = ask("urgent")
    assert (refused.status_code, "Choose one of low, normal, high" in refused.json()["error"]["message"]) == (400, True)


def test_limits_hold_and_tokens_are_counted() -> None:
    limits = LimitsSettings(anonymous_tokens_per_minute=10, anonymous_requests_per_minute=3)
    served = Gateway(settings=settings_with().model_copy(update={"limits": limits}))
    served.directory.cards = [*served.directory.cards, *VECTOR_CARDS]
    with running(served):
        first = post(served, input="one two three four five six seven")
        assert (first.status_code, first.headers["x-ratelimit-limit-tokens"]) == (200, "10")
        second = post(served, input="one two three four five six seven")
        assert (second.status_code, second.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert len(served.embedder.seen) == 1
