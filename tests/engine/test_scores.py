"""Log-probabilities of prompts, and of ids that were asked for."""

from dataclasses import replace
from typing import Any, cast

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx_lm.models.cache import make_prompt_cache

from pomona.core.errors import InvalidRequest
from pomona.core.generation import Prompt, TokenLogprobs
from tests.engine.harness import PAGE, alone, drive, family, make_engine, make_prompt
from tests.families import VOCABULARY

STEM = [(7 * i + 3) % VOCABULARY for i in range(90)]
MODELS = ["llama", "gemma2", "gemma3", "qwen3_next", "deepseek_v2", "stories260K"]


def scored(id: str, length: int, *, most: int = 2, max_tokens: int = 5, **sampling: Any) -> Prompt:
    return replace(make_prompt(id, STEM[:length], max_tokens=max_tokens, **sampling), prompt_logprobs=most)


def reference(name: str, token_ids: tuple[int, ...]) -> "np.ndarray[Any, Any]":
    """(tokens - 1, vocabulary) of log-probabilities by the model as mlx-lm runs it, the whole prompt in one call."""
    module = cast("Any", family(name).module)
    logits = cast("mx.array", module(mx.array([token_ids]), cache=make_prompt_cache(module)))[0]
    scores: np.ndarray[Any, Any] = np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True))
    return scores[:-1]


def expect_scores(got: list[TokenLogprobs], name: str, prompt: Prompt) -> None:
    wanted = reference(name, prompt.token_ids)
    following = list(prompt.token_ids[1:])
    assert [each.logprob for each in got] == pytest.approx(wanted[range(len(following)), following], abs=1e-3)
    for each, line in zip(got, wanted, strict=True):
        assert [value for _, value in each.top] == pytest.approx(sorted(line, reverse=True)[: prompt.prompt_logprobs], abs=1e-3)
        assert [value for _, value in each.top] == pytest.approx([line[token] for token, _ in each.top], abs=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_a_prompt_is_scored(name: str) -> None:
    """In chunks and beside others, after a row that left the same beginning in the cache; the answer stays the same."""
    engine = make_engine(name)
    drive(engine, {0: [make_prompt("warm", STEM[:60])]})
    rows = [scored("a", 75), make_prompt("b", STEM[:30]), scored("c", 33, most=0), scored("d", 1)]
    results = drive(engine, {0: rows})
    for row in rows:
        assert results[row.id].tokens == alone(name, replace(row, prompt_logprobs=None)).tokens
    for id in ("a", "c", "d"):
        expect_scores(results[id].prompt_logprobs, name, next(row for row in rows if row.id == id))
    assert results["b"].prompt_logprobs == []


def test_scored_rows_reuse_nothing_and_leave_their_pages_to_others() -> None:
    engine = make_engine("llama")
    first = drive(engine, {0: [scored("a", 60)]})["a"]
    again = drive(engine, {0: [scored("a", 60)]})["a"]
    after = drive(engine, {0: [make_prompt("b", STEM[:60])]})["b"]
    assert (first.cached_tokens, again.cached_tokens, after.cached_tokens) == (0, 0, 7 * PAGE)
    assert again.prompt_logprobs == first.prompt_logprobs


@pytest.mark.parametrize("length", [1, 2, 60])
def test_a_prompt_may_be_scored_and_not_answered(length: int) -> None:
    engine = make_engine("llama")
    result = drive(engine, {0: [scored("a", length, max_tokens=0)]})["a"]
    assert (result.tokens, result.finish_reason) == ([], "length")
    expect_scores(result.prompt_logprobs, "llama", scored("a", length))
    assert engine.stats().running == 0


@settings(max_examples=5, deadline=None)
@given(lengths=st.lists(st.integers(1, 80), min_size=2, max_size=5), budget=st.sampled_from([16, 40, 512]), gap=st.integers(0, 2))
def test_chunked_equals_whole(lengths: list[int], budget: int, gap: int) -> None:
    rows = [scored(str(i), length, max_tokens=i) for i, length in enumerate(lengths)]
    arrivals: dict[int, list[Prompt]] = {}
    for index, row in enumerate(rows):
        arrivals.setdefault(index * gap, []).append(row)
    results = drive(make_engine("llama", step_token_budget=budget), arrivals)
    for row in rows:
        expect_scores(results[row.id].prompt_logprobs, "llama", row)


def test_preempted_equals_not() -> None:
    """Rows that were put back while their prompts were scored go on behind what they know."""
    budget = 22 * make_engine("llama").page_bytes
    engine = make_engine("llama", kv_cache_bytes=budget)
    old = [make_prompt(str(i), STEM[i : i + 20], max_tokens=70) for i in range(2)]
    young = scored("young", 88, max_tokens=30)
    results = drive(engine, {0: old, 30: [young]})
    expect_scores(results["young"].prompt_logprobs, "llama", young)
    assert results["young"].tokens == alone("llama", replace(young, prompt_logprobs=None)).tokens
    assert engine.stats().preemptions > 0


def test_long_prompts_are_scored_in_bounded_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pass has logits for more tokens than the limit of bytes allows, however large the step."""
    monkeypatch.setattr("pomona.engine.engine.PASS_BYTES", 4 * VOCABULARY * 16)
    engine = make_engine("llama", step_token_budget=512)
    engine.add(scored("a", 90, max_tokens=0))
    steps = [engine.step()]
    while engine.has_work:
        steps.append(engine.step())
    assert len(steps) >= 6
    expect_scores(list(steps[-1][0][1].prompt_logprobs), "llama", scored("a", 90))


def test_ids_that_were_asked_for_come_behind_the_likeliest() -> None:
    rows = [
        make_prompt("a", STEM[:20], logprobs=2, logprob_token_ids=(7, 3, 7)),
        make_prompt("b", STEM[:25], logprob_token_ids=(11,)),
        make_prompt("c", STEM[:30]),
        make_prompt("d", STEM[:9], logprobs=1),
    ]
    results = drive(make_engine("llama"), {0: rows})
    for row, ids, most in ((rows[0], (7, 3, 7), 2), (rows[1], (11,), 0)):
        whole = (*row.token_ids, *results[row.id].tokens)
        lines = reference("llama", whole)[len(row.token_ids) - 1 :]
        for each, line in zip(results[row.id].logprobs, lines, strict=True):
            assert tuple(token for token, _ in each.top[most:]) == ids
            assert [value for _, value in each.top[most:]] == pytest.approx([line[token] for token in ids], abs=1e-3)
            assert len(each.top) == most + len(ids)
    assert results["c"].logprobs == []
    assert all(len(each.top) == 1 for each in results["d"].logprobs)


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        (make_prompt("a", [1], max_tokens=0), "max_tokens=0 is too small: allowed is 1"),
        (scored("a", 3, max_tokens=-1), "max_tokens=-1 is too small: allowed is 0"),
        (make_prompt("a", [1], logprob_token_ids=(VOCABULARY,)), f"{VOCABULARY} is not in the vocabulary"),
    ],
)
def test_what_makes_no_sense_is_refused(prompt: Prompt, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        make_engine("llama").add(prompt)
