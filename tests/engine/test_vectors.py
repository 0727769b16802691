"""The engine for vectors: the laws, taking turns, cancelling, refusing."""

import random
from collections import deque
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from pomona.core.errors import InvalidRequest
from pomona.engine.protocol import Encode, Encoded, TextInput
from pomona.engine.vectors.engine import VectorEngine
from pomona.engine.vectors.proof import prove_batching
from pomona.engine.vectors.schedule import Request, Schedule
from pomona.models.encoders.batch import Batch
from pomona.models.encoders.model import Encoder
from tests.golden.encoder_cases import ENCODERS, NAMES, load_case, task_of_case

SAME = 1e-5
"""Largest difference between a number of a vector made alone and in any company: sums of another shape round differently."""


def engine_of(name: str = "bert", budget: int = 64) -> VectorEngine:
    return VectorEngine(load_case(ENCODERS / name, task_of_case(name)), budget)


def texts(count: int, seed: int = 0, longest: int = 60) -> list[TextInput]:
    source = random.Random(seed)
    return [TextInput([source.randrange(3, 113) for _ in range(source.randint(1, longest))]) for _ in range(count)]


def run(engine: VectorEngine) -> dict[str, np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    found: dict[str, Encoded] = {}
    while engine.has_work:
        found.update({done.id: done for done in engine.step()})
    return {key: np.frombuffer(done.data, np.float32).reshape(-1, done.width) for key, done in found.items()}


@pytest.mark.parametrize("name", ["bert", "modernbert", "xlm-roberta", "qwen3-embedding", "bert-reranker"])
def test_whatever_the_budget_and_the_company_vectors_are_the_same(name: str) -> None:
    given = texts(23)
    alone = np.concatenate([engine_of(name).encode([text]) for text in given])
    for budget in (1, 64, 100_000):
        engine = engine_of(name, budget)
        engine.add(Encode("other", texts(9, seed=1)))
        engine.add(Encode("asked", given))
        found = run(engine)
        assert np.abs(found["asked"] - alone).max() < SAME
        assert found["other"].shape[0] == 9


def test_passes_keep_to_the_budget_padding_included() -> None:
    schedule = Schedule(100)
    given = texts(40)
    schedule.add(Request(id="a", texts=given, left=deque(range(40))))
    while len(schedule):
        lengths = [place.tokens for place in schedule.take()]
        assert len(lengths) * max(lengths) <= 100


def test_a_small_request_does_not_wait_for_a_large_one() -> None:
    engine = engine_of(budget=64)
    engine.add(Encode("large", texts(200)))
    engine.step()
    engine.add(Encode("small", texts(1, seed=5)))
    done: list[str] = []
    for _ in range(3):
        done += [each.id for each in engine.step()]
    assert done == ["small"]


def test_texts_of_several_requests_share_a_pass() -> None:
    engine = engine_of(budget=10_000)
    for number in range(5):
        engine.add(Encode(f"{number}", texts(3, seed=number)))
    assert len(engine.step()) == 5
    assert engine.stats().steps == 1


def test_cancelled_requests_are_forgotten() -> None:
    engine = engine_of(budget=64)
    engine.add(Encode("a", texts(50)))
    engine.add(Encode("b", texts(2, seed=3)))
    engine.step()
    engine.cancel("a")
    engine.cancel("unknown")
    assert set(run(engine)) == {"b"}
    assert (engine.stats().running, engine.stats().waiting, engine.requests) == (0, 0, 0)


def test_a_request_may_be_cancelled_and_its_name_used_again() -> None:
    engine = engine_of(budget=64)
    engine.add(Encode("a", texts(5)))
    engine.cancel("a")
    given = texts(2, seed=9)
    engine.add(Encode("a", given))
    assert np.abs(run(engine)["a"] - engine_of().encode(given)).max() < SAME


class Mixing:
    """An encoder whose rows see each other, as those of a definition that broadcasts a mask wrongly."""

    def __init__(self, inner: Encoder, *, breaks: bool) -> None:
        self.inner = inner
        self.breaks = breaks

    def __call__(self, batch: Batch) -> mx.array:
        if self.breaks and len(batch.texts) > 1:
            raise ValueError("Shapes (2,1) and (7,2) cannot be broadcast.")
        hidden = self.inner(batch)
        return hidden + hidden.mean(axis=0)

    def score(self, hidden: mx.array, batch: Batch) -> mx.array:
        return self.inner.score(hidden, batch)


@pytest.mark.parametrize("name", NAMES)
def test_known_architectures_may_be_batched(name: str) -> None:
    assert prove_batching(load_case(ENCODERS / name, task_of_case(name))) == ""


@pytest.mark.parametrize(("breaks", "part"), [(False, "other numbers in company"), (True, "different lengths together")])
def test_a_model_that_mixes_rows_is_found_and_served_one_text_per_pass(breaks: bool, part: str) -> None:
    sound = load_case(ENCODERS / "bert", "embed")
    model = replace(sound, encoder=Mixing(sound.encoder, breaks=breaks))
    assert part in prove_batching(model)
    engine, given = VectorEngine(model, 1), texts(7)
    found = engine.encode(given)
    assert engine.stats().steps == len(given)
    assert np.abs(found - np.concatenate([engine.encode([text]) for text in given])).max() == 0


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ((), "no texts"),
        (((),), "has 0 tokens"),
        (((3,) * 97,), "has 97 tokens; this model takes 1 to 96"),
        (((3,), (113,)), "Text 1 holds the id 113"),
    ],
)
def test_what_a_model_cannot_take_is_refused(given: tuple[tuple[int, ...], ...], part: str) -> None:
    engine = engine_of()
    with pytest.raises(InvalidRequest, match=part):
        engine.add(Encode("a", [TextInput(list(ids)) for ids in given]))
    assert not engine.has_work
