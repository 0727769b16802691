"""The sampler against NumPy, row by row."""

from collections import Counter
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.core.generation import Prompt, SamplingParams
from pomona.engine.grammar.masks import Masks
from pomona.engine.sampling import PenaltyTable, Sampled, draws, needs_penalties, sample
from pomona.engine.sequence import Sequence

VOCABULARY = 40


def make_row(seed: int = 0, outputs: tuple[int, ...] = (), **sampling: Any) -> Sequence:
    request = Prompt(id="x", token_ids=(1, 2), sampling=SamplingParams(**sampling), max_tokens=10)
    return Sequence(prompt=request, seed=seed, arrival=0, tokens=[1, 2, *outputs])


def choose(logits: np.ndarray[Any, Any], rows: list[Sequence]) -> Sampled:
    table = PenaltyTable(logits.shape[1])
    for row in rows:
        if needs_penalties(row.prompt.sampling):
            table.open(row)
    return sample(mx.array(logits.astype(np.float32)), rows, table)


def tokens_of(sampled: Sampled) -> list[int]:
    return np.array(sampled.tokens).tolist()


def reference(logits: np.ndarray[Any, Any], row: Sequence) -> np.ndarray[Any, Any]:
    """The distribution that a row's parameters describe, straight from their definitions, in float64."""
    p = row.prompt.sampling
    x = logits.astype(np.float64).copy()
    for token, bias in p.logit_bias.items():
        x[token] += bias
    made = Counter(row.tokens[len(row.prompt.token_ids) :])
    for token in range(len(x)):
        if token in row.tokens:
            x[token] = x[token] / p.repetition_penalty if x[token] > 0 else x[token] * p.repetition_penalty
        x[token] -= p.frequency_penalty * made[token] + p.presence_penalty * (made[token] > 0)
    if p.temperature == 0:
        return (x == x.max()).astype(np.float64)
    weights = np.exp((x - x.max()) / p.temperature)
    weights /= weights.sum()
    if p.top_k:
        weights[weights < np.sort(weights)[-p.top_k]] = 0
    order = np.argsort(-weights)
    before = np.cumsum(weights[order]) - weights[order]
    weights[order[1:][before[1:] >= p.top_p * weights.sum()]] = 0
    weights[weights < p.min_p * weights.max()] = 0
    return weights / weights.sum()


GREEDY: dict[str, Any] = {"temperature": 0.0}
PARAMETERS: list[dict[str, Any]] = [
    {"temperature": 1.0},
    {"temperature": 0.5, "top_k": 5},
    {"temperature": 1.3, "top_p": 0.7},
    {"temperature": 1.0, "min_p": 0.1},
    {"temperature": 2.0, "top_k": 12, "top_p": 0.9, "min_p": 0.02},
    {"temperature": 1.0, "repetition_penalty": 1.8},
    {"temperature": 1.0, "presence_penalty": 1.5, "frequency_penalty": 0.5},
    {"temperature": 1.0, "logit_bias": {3: 4.0, 7: -100.0}},
]


@pytest.mark.parametrize("params", PARAMETERS, ids=str)
def test_frequencies_match_the_definition(params: dict[str, Any]) -> None:
    draws = 4000
    logits = np.random.default_rng(1).normal(size=VOCABULARY) * 2
    rows = [make_row(seed, outputs=(3, 3, 9), **params) for seed in range(draws)]
    counts = np.bincount(tokens_of(choose(np.tile(logits, (draws, 1)), rows)), minlength=VOCABULARY)
    expected = reference(logits, rows[0])
    assert not counts[expected == 0].any()
    spread = np.sqrt(draws * expected * (1 - expected))
    assert (np.abs(counts - draws * expected) <= 5 * spread + 1).all()


@settings(deadline=None, max_examples=40)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_a_row_chooses_the_same_in_any_company(data: st.DataObject, seed: int) -> None:
    kinds = data.draw(st.lists(st.sampled_from([*PARAMETERS, GREEDY]), min_size=1, max_size=6))
    logits = np.random.default_rng(seed).normal(size=(len(kinds), VOCABULARY)) * 3
    rows = [make_row(seed + i, outputs=(4, 5), **kind) for i, kind in enumerate(kinds)]
    together = tokens_of(choose(logits, rows))
    lone = [tokens_of(choose(logits[i : i + 1], [make_row(seed + i, outputs=(4, 5), **kind)]))[0] for i, kind in enumerate(kinds)]
    assert together == lone
    assert all(reference(logits[i], rows[i])[token] > 0 for i, token in enumerate(together))


def test_greedy_takes_the_penalised_best() -> None:
    logits = np.array([[0.0, 2.0, 1.9, 0.0], [0.0, 2.0, 1.9, 0.0]])
    rows = [make_row(temperature=0.0, outputs=(1,)), make_row(temperature=0.0, outputs=(1,), presence_penalty=0.5)]
    assert tokens_of(choose(logits, rows)) == [1, 2]


def test_log_probabilities_are_the_models_own() -> None:
    logits = np.random.default_rng(3).normal(size=(3, VOCABULARY)) * 3
    rows = [
        make_row(temperature=0.0, logprobs=4),
        make_row(temperature=0.0),
        make_row(temperature=0.7, logprobs=0, logit_bias={5: 100.0}),
    ]
    sampled = choose(logits, rows)
    assert sampled.scored_rows == (0, 2)
    assert sampled.scores is not None
    assert sampled.scores.top_ids is not None
    expected = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    chosen = tokens_of(sampled)
    assert sampled.scores.chosen.tolist() == pytest.approx([expected[0, chosen[0]], expected[2, chosen[2]]], abs=1e-4)
    assert np.array(sampled.scores.top_ids)[0].tolist() == np.argsort(-logits[0])[:4].tolist()


def test_draws_are_exponential_and_of_their_own() -> None:
    drawn = 1 / draws([(seed, position) for seed in range(100) for position in range(10)], 20).reshape(100, 10, 20)
    uniform = np.exp(-drawn.astype(np.float64))
    counts = np.histogram(uniform, bins=20, range=(0, 1))[0]
    assert counts.sum() == drawn.size
    assert abs(counts - 1000).max() < 5 * 1000**0.5
    assert len(set(drawn.ravel().tolist())) > 19_900
    for axis in range(3):  # neighbouring seeds, positions and candidates
        first, second = np.delete(uniform, -1, axis), np.delete(uniform, 0, axis)
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.04
    assert np.array_equal(draws([(3, 4)], 9)[0], draws([(7, 7), (3, 4)], 20)[1, :9])


@pytest.mark.parametrize("vocabulary", [1, 2, 3, 37, 1024, 5000])
def test_every_token_of_any_vocabulary_can_win(vocabulary: int) -> None:
    """Blocks may end beyond the vocabulary: what is only there to fill them never wins."""
    rows = [make_row(seed, temperature=1.0) for seed in range(300)]
    for token in {0, vocabulary // 2, vocabulary - 1}:
        logits = np.full((len(rows), vocabulary), -1000.0)
        logits[:, token] = 0.0
        assert set(tokens_of(choose(logits, rows))) == {token}
    chosen = tokens_of(choose(np.zeros((len(rows), vocabulary)), rows))
    assert max(chosen) < vocabulary
    assert len(set(chosen)) > 0.8 * vocabulary * (1 - np.exp(-len(rows) / vocabulary))


def test_rounding_moves_no_choice_between_flat_candidates() -> None:
    """A thousand sampled tokens of a wide distribution stay what they are if the logits move as another batch shape moves them."""
    source = np.random.default_rng(5)
    rows = [make_row(seed, temperature=1.0) for seed in range(1000)]
    logits = source.normal(size=(1000, 5000)).astype(np.float32)
    moved = logits + source.normal(size=logits.shape).astype(np.float32) * 2e-6
    assert tokens_of(choose(logits, rows)) == tokens_of(choose(moved, rows))


def test_penalty_slots_are_reused() -> None:
    table = PenaltyTable(VOCABULARY)
    rows = [make_row(presence_penalty=1.0) for _ in range(5)]
    for row in rows:
        table.open(row)
    slots = {row.penalty_slot for row in rows}
    assert len(slots) == 5
    assert 0 not in slots
    for row in rows:
        table.close(row)
    again = make_row(presence_penalty=1.0)
    table.open(again)
    assert again.penalty_slot in slots


@pytest.mark.parametrize("device", [mx.cpu, mx.gpu], ids=["as on a CPU", "as on a GPU"])
@pytest.mark.parametrize("lines", [(0, 1, 2), (1,), (2, 0)])
def test_masks_forbid_what_has_no_bit(device: mx.DeviceType, lines: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of turning bits into numbers; a vocabulary that ends within a word."""
    monkeypatch.setattr("pomona.engine.grammar.masks.mx.default_device", lambda: mx.Device(device))
    source = np.random.default_rng(7)
    logits = source.normal(size=(3, VOCABULARY)).astype(np.float32)
    allowed = source.random((len(lines), 64)) < 0.4
    bits = np.packbits(allowed, axis=1, bitorder="little").view(np.int32)
    got: np.ndarray[Any, Any] = np.array(Masks(lines, bits).apply(mx.array(logits)))
    wanted = logits.copy()
    for place, line in enumerate(lines):
        wanted[line][~allowed[place, :VOCABULARY]] = -np.inf
    assert np.array_equal(got, wanted)
