"""`embed` and `rerank`: against a server with doubles behind it, and alone with small models."""

import json
from pathlib import Path

import numpy as np
import pytest

from pomona.core.errors import ContextOverflow
from tests.api.gateway import EMBEDDER, MODEL, RERANKER, VECTOR_CARDS, Gateway
from tests.cli.conftest import Pomona
from tests.golden.encoder_cases import ENCODERS

ROUGH = 1e-5


@pytest.fixture
def gateway(gateway: Gateway) -> Gateway:
    gateway.directory.cards = [*gateway.directory.cards, *VECTOR_CARDS]
    return gateway


def test_each_text_is_a_line_of_numbers(pomona: Pomona, gateway: Gateway) -> None:
    result = pomona("embed", "one two", "three", "--url", gateway.urls.public)
    assert (result.exit_code, result.stdout) == (0, "7 2 0.5\n5 2 0.5\n")
    assert gateway.embedder.seen[0].model == EMBEDDER, "the first model that makes vectors, since the default one writes text"


def test_options_reach_the_embedder(pomona: Pomona, gateway: Gateway) -> None:
    options = ["--kind", "query", "--dimensions", "2", "--truncate", "-m", EMBEDDER]
    document = json.loads(pomona("embed", "x", *options, "--json", "--url", gateway.urls.public).stdout)
    (seen,) = gateway.embedder.seen
    assert (seen.kind, seen.dimensions, seen.truncate, seen.inputs) == ("query", 2, True, ("x",))
    assert document == {"model": EMBEDDER, "dimensions": 3, "embeddings": [[1.0, 1.0, 0.5]], "usage": {"prompt_tokens": 1}}


@pytest.mark.parametrize("arguments", [["-"], []])
def test_lines_of_standard_input_are_texts(pomona: Pomona, gateway: Gateway, arguments: list[str]) -> None:
    pomona("embed", *arguments, "--url", gateway.urls.public, stdin="one\n\ntwo three\n")
    assert gateway.embedder.seen[0].inputs == ("one", "two three")


def test_what_the_server_says_is_told(pomona: Pomona, gateway: Gateway) -> None:
    gateway.embedder.error = ContextOverflow("input[0] has 300 tokens; this model takes 256.", param="input[0]", tokens=300, limit=256)
    refused = pomona("embed", "x", "--url", gateway.urls.public)
    assert (refused.exit_code, "takes 256" in refused.stderr) == (65, True)
    other = pomona("embed", "x", "-m", MODEL, "--url", gateway.urls.public)
    assert EMBEDDER in other.stderr
    gateway.directory.cards = [card for card in gateway.directory.cards if card.task == "generate"]
    assert "No model there makes embeddings" in pomona("embed", "x", "--url", gateway.urls.public).stderr


@pytest.mark.parametrize("arguments", [["embed", ""], ["embed"], ["rerank", ""], ["rerank", "x"], ["rerank", "x", "nowhere.txt"]])
def test_without_texts_there_is_nothing_to_do(pomona: Pomona, gateway: Gateway, arguments: list[str]) -> None:
    assert pomona(*arguments, "--url", gateway.urls.public, stdin="").exit_code == 2
    assert not gateway.embedder.seen


def test_documents_come_by_their_relevance(pomona: Pomona, gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("blue\nnothing\nred and green\n")
    shown = pomona("rerank", "red green blue", "notes.txt", "--url", gateway.urls.public)
    assert (shown.exit_code, shown.stdout) == (0, "0.6667  red and green\n0.3333  blue\n0.0000  nothing\n")
    best = pomona("rerank", "red", "-n", "1", "--json", "--url", gateway.urls.public, stdin="green\nred\n")
    document = json.loads(best.stdout)
    assert document["results"] == [{"index": 1, "relevance_score": 1.0, "document": "red"}]
    assert document["model"] == RERANKER


def test_alone_a_model_is_loaded_for_it(pomona: Pomona) -> None:
    embedded = pomona("embed", "5 6 7", "8", "--alone", "-m", str(ENCODERS / "bert"), "--dimensions", "4")
    vectors = np.array([line.split() for line in embedded.stdout.splitlines()], np.float32)
    assert vectors.shape == (2, 4)
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < ROUGH
    ranked = json.loads(pomona("rerank", "5 6", "--alone", "--json", "-m", str(ENCODERS / "bert-reranker"), stdin="7\n8 9\n").stdout)
    assert {each["document"] for each in ranked["results"]} == {"7", "8 9"}


def test_alone_a_model_of_another_task_is_refused_before_it_is_loaded(pomona: Pomona) -> None:
    refused = pomona("embed", "x", "--alone", "-m", str(ENCODERS / "bert-reranker"))
    assert "'bert-reranker' is none that makes embeddings" in refused.stderr
    assert "No model here ranks documents" in pomona("rerank", "x", "--alone", stdin="y").stderr
