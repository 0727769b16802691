"""resumed == uninterrupted: a row that comes with the beginning of its answer goes on as if it had made that itself."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.core.errors import EngineFailed, InvalidRequest
from pomona.core.generation import Grammar, Prompt, ReasoningLimit
from tests.engine.harness import (
    CALL,
    CLOSE_THINK,
    END,
    PAGE,
    THINK,
    TRAINED,
    Result,
    alone,
    drive,
    ids_of,
    make_engine,
    make_prompt,
)
from tests.families import FAMILIES, VOCABULARY

every_model = pytest.mark.parametrize("name", [*FAMILIES, *TRAINED])
examples = settings(max_examples=3, deadline=None)
STEM = [(7 * i + 3) % VOCABULARY for i in range(90)]
SAMPLINGS: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 1.0, "seed": 5},
    {"temperature": 0.7, "seed": 7, "top_p": 0.8, "top_k": 20},
    {"temperature": 1.5, "seed": 3, "min_p": 0.05, "repetition_penalty": 1.3},
    {"presence_penalty": 0.8, "frequency_penalty": 0.4, "logit_bias": {5: 2.0}},
)


def cut(prompt: Prompt, whole: Result, at: int) -> Prompt:
    """As a new engine gets it when the one before has handed out `at` tokens."""
    return replace(prompt, answered_ids=tuple(whole.tokens[:at]))


def expect_rest(got: Result, whole: Result, at: int) -> None:
    assert (got.tokens, got.finish_reason, got.failure) == (whole.tokens[at:], whole.finish_reason, None)
    assert [score.logprob for score in got.logprobs] == pytest.approx([score.logprob for score in whole.logprobs[at:]], abs=1e-4)
    assert got.prompt_logprobs == []


def expect_all_rests(name: str, prompt: Prompt, whole: Result) -> None:
    """Cut behind each token, all in one engine."""
    places = range(1, len(whole.tokens) + 1)
    results = drive(make_engine(name), {0: [replace(cut(prompt, whole, at), id=str(at)) for at in places]})
    for at in places:
        expect_rest(results[str(at)], whole, at)


@every_model
@examples
@given(
    sampling=st.sampled_from(SAMPLINGS),
    length=st.sampled_from([1, PAGE, 3 * PAGE + 2, 40]),
    cuts=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    budget=st.sampled_from([16, 64]),
)
def test_any_cut_goes_on_as_if_there_had_been_none(name: str, sampling: dict[str, Any], length: int, cuts: list[int], budget: int) -> None:
    prompt = make_prompt("row", STEM[:length], max_tokens=20, logprobs=1, **sampling)
    whole = alone(name, prompt)
    rows = [replace(cut(prompt, whole, at), id=str(index)) for index, at in enumerate(cuts)]
    engine = make_engine(name, step_token_budget=budget)
    for _ in range(2):  # the second time much of it comes out of the prefix cache
        results = drive(engine, {0: rows})
        for index, at in enumerate(cuts):
            expect_rest(results[str(index)], whole, at)


@pytest.mark.parametrize("name", ["llama", "gemma3", "qwen3_next"])
@pytest.mark.parametrize("mode", ["lookup", "auto"])
def test_guessing_changes_nothing(name: str, mode: str) -> None:
    prompt = make_prompt("row", STEM[:9] * 3, max_tokens=30, temperature=0.6, seed=2, frequency_penalty=0.2)
    whole = alone(name, prompt)
    for at in (1, 7, 16, 29):
        got = drive(make_engine(name, speculation=mode), {0: [cut(prompt, whole, at)]})["row"]
        assert got.tokens == whole.tokens[at:]


@pytest.mark.parametrize("name", ["llama", "stories260K"])
@pytest.mark.parametrize("source", ['start: "true" | "false" | /[a-z]{3}/', "start: /[a-z ]{40}/"])
def test_grammars_go_on_where_they_stood(name: str, source: str) -> None:
    prompt = replace(
        make_prompt("row", STEM[:12], max_tokens=30, temperature=1.0, seed=11, stop=(END,) if name == "llama" else (2,)),
        grammar=Grammar(source=source),
    )
    whole = alone(name, prompt)
    assert whole.failure is None
    expect_all_rests(name, prompt, whole)


def test_grammars_that_begin_later_go_on_too() -> None:
    bias = {THINK: -50.0, CALL: 8.0, END: 1.0}
    prompt = replace(
        make_prompt("row", STEM[:12], max_tokens=40, temperature=1.0, seed=4, stop=(END,), logit_bias=bias),
        grammar=Grammar(source="start: /[a-f]{2}/", after=(CALL,), repeats=True),
    )
    whole = alone("llama", prompt)
    assert CALL in whole.tokens
    expect_all_rests("llama", prompt, whole)


@pytest.mark.parametrize("opened", [True, False])
def test_thoughts_go_on_counting(opened: bool) -> None:
    limit = ReasoningLimit(
        budget_tokens=6, open_ids=() if opened else (THINK,), close_ids=(CLOSE_THINK,), forced_ids=(*ids_of("so"), CLOSE_THINK)
    )
    bias = {THINK: 0.0 if opened else 6.0, CLOSE_THINK: -50.0}
    prompt = replace(make_prompt("row", STEM[:12], max_tokens=24, temperature=1.0, seed=9, logit_bias=bias), reasoning_limit=limit)
    whole = alone("llama", prompt)
    assert CLOSE_THINK in whole.tokens
    expect_all_rests("llama", prompt, whole)


def test_resumed_rows_share_a_batch_with_new_ones_and_are_put_back_like_them() -> None:
    budget = 22 * make_engine("llama").page_bytes
    rows = [make_prompt(str(i), STEM[i : i + 20 + i], max_tokens=60, temperature=0.8, seed=i) for i in range(5)]
    wholes = [alone("llama", row) for row in rows]
    engine = make_engine("llama", kv_cache_bytes=budget)
    results = drive(engine, {0: [cut(row, whole, 10 * i) for i, (row, whole) in enumerate(zip(rows, wholes, strict=True))]})
    for i, whole in enumerate(wholes):
        assert results[str(i)].tokens == whole.tokens[10 * i :]
    assert engine.stats().preemptions > 0


def test_scores_of_the_prompt_are_not_made_again() -> None:
    prompt = replace(make_prompt("row", STEM[:20], max_tokens=8, logprobs=1), prompt_logprobs=1)
    whole = alone("llama", prompt)
    assert len(whole.prompt_logprobs) == 19
    expect_rest(drive(make_engine("llama"), {0: [cut(prompt, whole, 3)]})["row"], whole, 3)


def test_only_the_prompt_counts_as_cached() -> None:
    prompt = make_prompt("row", STEM[:20], max_tokens=40)
    whole = alone("llama", prompt)
    engine = make_engine("llama")
    drive(engine, {0: [prompt]})
    got = drive(engine, {0: [cut(prompt, whole, 38)]})["row"]
    assert (got.tokens, got.cached_tokens) == (whole.tokens[38:], 20)


def test_what_was_complete_ends_at_once() -> None:
    long = make_prompt("length", STEM[:9], max_tokens=3)
    stop = make_prompt("stop", STEM[:9], max_tokens=9, stop=(END,))
    full = replace(make_prompt("grammar", STEM[:9], max_tokens=9), grammar=Grammar(source='start: "ab"'))
    rows = [
        replace(long, answered_ids=(1, 2, 3)),
        replace(stop, answered_ids=(1, END)),
        replace(full, answered_ids=tuple(ids_of("ab"))),
    ]
    results = drive(make_engine("llama"), {0: rows})
    assert [(results[row.id].tokens, results[row.id].finish_reason) for row in rows] == [([], "length"), ([], "stop"), ([], "stop")]


def test_an_answer_that_its_grammar_never_allowed_loses_its_row_alone() -> None:
    wrong = replace(make_prompt("wrong", STEM[:9]), grammar=Grammar(source='start: "ab"'), answered_ids=tuple(ids_of("x")))
    other = make_prompt("other", STEM[:9])
    results = drive(make_engine("llama"), {0: [wrong, other]})
    assert isinstance(results["wrong"].failure, EngineFailed)
    assert results["other"].tokens == alone("llama", other).tokens


def test_ids_that_the_model_does_not_have_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=f"Token id {VOCABULARY}"):
        make_engine("llama").add(replace(make_prompt("row", [1]), answered_ids=(VOCABULARY,)))
