"""The text side before an engine for vectors: instructions, limits, ids, dimensions, judges."""

import shutil
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pomona.core.errors import ContextOverflow, EngineFailed, InvalidRequest, UnsupportedField
from pomona.core.status import ModelFacts
from pomona.core.vectors import EmbedRequest, RerankRequest
from pomona.engine.protocol import Encoded, TextInput
from pomona.fleet.vectors import JUDGE_CLOSING, JUDGE_OPENING, ModelEmbedder, ModelReranker, Reading, load_reading, relevance
from tests.golden.encoder_cases import ENCODERS

FACTS = ModelFacts(
    architecture="Bert", device="cpu", max_context=12, vocabulary=113, weight_bytes=1, kv_budget_bytes=0, load_seconds=0.1, dimensions=4
)


class CountingSource:
    """A VectorSource whose vectors are (tokens, 3, 4, 0), or whose logits are the number of tokens."""

    def __init__(self, width: int = 4) -> None:
        self.width = width
        self.answer: Encoded | None = None
        self.seen: list[TextInput] = []

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[ModelFacts]:
        yield FACTS

    async def encode(self, texts: Sequence[TextInput]) -> Encoded:
        self.seen = list(texts)
        if self.answer is not None:
            return self.answer
        rows = [[len(text.token_ids), 3.0, 4.0, 0.0][: self.width] for text in texts]
        return Encoded("1", self.width, np.array(rows, "<f4").tobytes())


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


def reading(name: str = "bert") -> Reading:
    return load_reading(ENCODERS / name, "rerank" if "rerank" in name else "embed")


def request(*inputs: str | tuple[int, ...], **fields: object) -> EmbedRequest:
    return replace(EmbedRequest(id="1", model="m", inputs=inputs), **fields)  # pyright: ignore[reportArgumentType]


async def test_texts_and_ids_keep_their_order(pool: ThreadPoolExecutor) -> None:
    source = CountingSource()
    made = await ModelEmbedder(reading(), source, pool).embed(request("5 6", (8, 9, 10), "12"))
    assert [text.token_ids for text in source.seen] == [[5, 6], [8, 9, 10], [12]]
    assert (made.prompt_tokens, made.dimensions) == (6, 4)
    assert np.frombuffer(made.data, "<f4").reshape(3, 4)[:, 0].tolist() == [2, 3, 1]


async def test_instructions_go_by_the_kind_of_text(pool: ThreadPoolExecutor) -> None:
    made = reading()
    prompts = {"query": "20 21 ", "passage": "22 ", "other": "23 "}
    layout = replace(made.layout, prompts=prompts, default_prompt="other", include_prompt=False)
    source = CountingSource()
    embedder = ModelEmbedder(replace(made, layout=layout), source, pool)
    for kind, ids, prompt in [("query", [20, 21, 5], 2), ("document", [22, 5], 1), (None, [23, 5], 1)]:
        await embedder.embed(request("5", kind=kind))
        assert (source.seen[0].token_ids, source.seen[0].prompt) == (ids, prompt)


async def test_long_inputs_are_refused_by_name_or_cut(pool: ThreadPoolExecutor) -> None:
    source = CountingSource()
    embedder = ModelEmbedder(reading(), source, pool)
    long = " ".join(["5"] * 13)
    with pytest.raises(ContextOverflow, match=r"input\[1\] has 13 tokens; this model takes 12") as caught:
        await embedder.embed(request("5", long))
    assert (caught.value.param, caught.value.tokens, caught.value.limit) == ("input[1]", 13, 12)
    with pytest.raises(ContextOverflow, match=r"input\[0\]"):
        await embedder.embed(request((5,) * 13))
    await embedder.embed(request(long, (5,) * 13, truncate=True))
    assert [len(text.token_ids) for text in source.seen] == [12, 12]


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        (request((5, 113)), "holds the id 113; this model's ids go from 0 to 112"),
        (request(()), "has no tokens"),
        (request("5", dimensions=5), "dimensions = 5: the vectors of 'm' have 4"),
    ],
)
async def test_what_cannot_be_is_refused(pool: ThreadPoolExecutor, wrong: EmbedRequest, part: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await ModelEmbedder(reading(), CountingSource(), pool).embed(wrong)
    assert part in caught.value.message


async def test_fewer_dimensions_have_length_one_again(pool: ThreadPoolExecutor) -> None:
    made = await ModelEmbedder(reading(), CountingSource(), pool).embed(request("5 6 7 8", dimensions=2))
    assert np.frombuffer(made.data, "<f4").tolist() == pytest.approx([0.8, 0.6])


async def test_pairs_and_their_limits(pool: ThreadPoolExecutor) -> None:
    source = CountingSource(1)
    reranker = ModelReranker(reading("bert-reranker"), source, pool)
    asked = RerankRequest(id="1", model="m", query="5 6", documents=("8", "9 " * 20))
    ranking = await reranker.rerank(asked)
    assert source.seen[0].token_ids == [5, 6, 8]
    assert ranking.scores == pytest.approx([1 / (1 + np.exp(-3)), 1 / (1 + np.exp(-12))])
    assert (ranking.order(), ranking.prompt_tokens) == ([1, 0], 15)
    with pytest.raises(ContextOverflow, match=r"documents\[1\] has 22 tokens, the query included"):
        await reranker.rerank(replace(asked, truncate=False))
    with pytest.raises(UnsupportedField, match="takes none"):
        await reranker.rerank(replace(asked, instruction="colours"))


def test_relevance_lies_between_0_and_1_in_the_order_of_the_logits() -> None:
    """Those of ms-marco's models are shown as they are by sentence-transformers, and go far beyond what a float32 sigmoid tells apart."""
    logits = np.array([-200.0, -90.5, -11.2, -1e-3, 0.0, 1e-3, 8.6, 17.5, 18.5, 30.0], np.float32)
    found = relevance(logits)
    assert ((found > 0) & (found < 1)).all()
    assert (np.diff(found) > 0).all()
    assert found[4:7] == pytest.approx([0.5, 0.50025, 0.999816], abs=1e-6)


async def test_numbers_that_are_none_are_told_and_not_given(pool: ThreadPoolExecutor) -> None:
    source = CountingSource()
    rows = np.array([[1, 2, 3, 4], [1, np.nan, 3, 4]], "<f4")
    source.answer = Encoded("1", 4, rows.tobytes())
    with pytest.raises(EngineFailed, match=r"'m' made no finite numbers of input\[1\]"):
        await ModelEmbedder(reading(), source, pool).embed(request("5", "6"))
    source.answer = Encoded("1", 1, np.array([np.inf], "<f4").tobytes())
    with pytest.raises(EngineFailed, match=r"documents\[0\]"):
        await ModelReranker(reading("bert-reranker"), source, pool).rerank(RerankRequest(id="1", model="m", query="5", documents=("8",)))


async def test_a_judge_is_asked_in_its_own_prompt(pool: ThreadPoolExecutor) -> None:
    made = reading("qwen3-reranker")
    plain = made.inputs.plain
    source = CountingSource(1)
    roomy = replace(FACTS, max_context=500)
    source.place = lambda: _place(roomy)
    asked = RerankRequest(id="1", model="m", query="5", documents=("8 9",), instruction="4")
    await ModelReranker(made, source, pool).rerank(asked)
    expected = [*plain(JUDGE_OPENING), *plain("<Instruct>: 4\n<Query>: 5\n<Document>: 8 9"), *plain(JUDGE_CLOSING)]
    assert source.seen[0].token_ids == expected
    tight = replace(FACTS, max_context=len(expected) - 1)
    source.place = lambda: _place(tight)
    await ModelReranker(made, source, pool).rerank(asked)
    assert source.seen[0].token_ids == [*expected[: -len(plain(JUDGE_CLOSING)) - 1], *plain(JUDGE_CLOSING)]


@asynccontextmanager
async def _place(facts: ModelFacts) -> AsyncGenerator[ModelFacts]:
    yield facts


def test_decoders_without_an_end_token_get_one(tmp_path: Path) -> None:
    folder = tmp_path / "Qwen3-Embedding"
    shutil.copytree(ENCODERS / "qwen3-embedding", folder)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace("{", '{"eos_token_id": 99, ', 1))
    assert load_reading(folder, "embed").inputs.texts(["5 6"], 50)[0].ids == [5, 6, 99]
