"""all-MiniLM-L6-v2 with its real weights, in an engine process and over HTTP, gives what sentence-transformers gives."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from openai import BadRequestError, OpenAI

from tests.e2e.servers import Server, serving
from tests.weights.texts import RECORDED, TEXTS

pytestmark = pytest.mark.weights
TOLERANCE = 1e-4
MODEL = "model"
"""The name of the package's folder."""


@pytest.fixture(scope="module")
def server(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server"), "--model", str(minilm), "--port", "0", "--admin-port", "0") as started:
        yield started


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def vectors(client: OpenAI, model: str, texts: list[str], **extra: object) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    found = client.embeddings.create(model=model, input=texts, extra_body={"truncate": True, **extra})
    return np.array([each.embedding for each in found.data])


def test_vectors_equal_those_of_sentence_transformers(client: OpenAI) -> None:
    expected = np.array(json.loads(RECORDED.read_text()))
    assert np.abs(vectors(client, MODEL, list(TEXTS)) - expected).max() < TOLERANCE


def test_many_at_once_equal_one_by_one(client: OpenAI) -> None:
    texts = [f"{text} {number}" for number in range(40) for text in TEXTS[:6]]
    together = vectors(client, MODEL, texts)
    alone = np.concatenate([vectors(client, MODEL, [text]) for text in texts[:12]])
    assert np.abs(together[:12] - alone).max() < 1e-5


def test_near_meanings_are_near(client: OpenAI) -> None:
    cat, kitten, invoice = vectors(client, MODEL, ["A cat sleeps.", "The kitten is asleep.", "Please pay the invoice."])
    assert cat @ kitten > 0.6
    assert cat @ invoice < 0.2


def test_long_texts_are_refused_unless_they_may_be_cut(client: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="this model takes 256"):
        client.embeddings.create(model=MODEL, input=["word " * 300])
