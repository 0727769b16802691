"""POST /v1/rerank in Cohere's and Jina's shape."""

import httpx
import pytest

from pomona.core.vectors import RerankRequest
from tests.api.gateway import EMBEDDER, RERANKER, Gateway

QUERY = "red green blue"
DOCUMENTS = ["blue", "nothing", "red and green"]


def post(gateway: Gateway, path: str = "/v1/rerank", **body: object) -> httpx.Response:
    return gateway.http().post(path, json={"model": RERANKER, "query": QUERY, "documents": DOCUMENTS, **body})


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
def test_the_most_relevant_document_comes_first(gateway: Gateway, path: str) -> None:
    found = post(gateway, path).json()
    assert [each["index"] for each in found["results"]] == [2, 0, 1]
    assert [each["relevance_score"] for each in found["results"]] == pytest.approx([2 / 3, 1 / 3, 0.0])
    assert found["meta"]["billed_units"] == {"search_units": 1}
    assert found["meta"]["tokens"] == {"input_tokens": 14}
    assert found["usage"] == {"prompt_tokens": 14, "total_tokens": 14}
    assert found["model"] == RERANKER
    assert "document" not in found["results"][0]


def test_only_the_best_with_their_texts(gateway: Gateway) -> None:
    found = post(gateway, top_n=1, return_documents=True).json()["results"]
    assert [(each["index"], each["document"]) for each in found] == [(2, {"text": "red and green"})]


def test_equal_scores_keep_the_order_of_the_request(gateway: Gateway) -> None:
    found = post(gateway, documents=["x", "red", "y", "blue"]).json()["results"]
    assert [each["index"] for each in found] == [1, 3, 0, 2]


def test_all_fields_reach_the_reranker(gateway: Gateway) -> None:
    post(gateway, documents=[{"text": "red"}, "blue"], max_tokens_per_doc=7, truncate=False, instruction="colours", keep_alive=0)
    (seen,) = gateway.reranker.seen
    assert seen == RerankRequest(
        id=seen.id,
        model=RERANKER,
        query=QUERY,
        documents=("red", "blue"),
        instruction="colours",
        truncate=False,
        max_document_tokens=7,
        keep_alive_seconds=0,
    )


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({"query": ""}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": [3]}, "documents[0]"),
        ({"documents": [{"title": "x"}]}, "documents[0]"),
        ({"top_n": 0}, "top_n = 0"),
        ({"keep_alive": "soon"}, "keep_alive = 'soon'"),
        ({"documents": ["a"] * 1001}, "1001; one request takes 1000"),
        ({"model": EMBEDDER}, f"Models here that can: {RERANKER!r}."),
    ],
)
def test_bad_bodies_say_what_is_wrong(gateway: Gateway, body: dict[str, object], part: str) -> None:
    response = gateway.http().post("/v1/rerank", json={"model": RERANKER, "query": QUERY, "documents": DOCUMENTS, **body})
    assert response.status_code == 400, response.text
    assert part in response.json()["error"]["message"]
    assert not gateway.reranker.seen
