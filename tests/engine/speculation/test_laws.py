"""Guesses change nothing but the time: every row gets the tokens that it gets alone and without them."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples_of
from hypothesis import strategies as st

from pomona.core.generation import Grammar, Prompt, ReasoningLimit
from pomona.engine.engine import Engine
from tests.engine.harness import CALL, CLOSE_THINK, END, PAGE, THINK, TRAINED, alone, drive, expect_close, family, make_engine, make_prompt
from tests.engine.speculation.drafting import STEM, Whims, guessing, repetitive
from tests.families import CONFIGS, FAMILIES, build

POSITIONAL = ["llama", "qwen3", "gemma3", "gpt_oss", "qwen3_moe", "deepseek_v2", "gemma2", "stories260K"]
"""Models whose state can be taken back."""
STATEFUL = [name for name in FAMILIES if name not in POSITIONAL]
SAMPLINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 1.0, "seed": 3},
    {"temperature": 0.7, "seed": 7, "top_p": 0.8, "top_k": 20},
    {"temperature": 1.3, "seed": 5, "min_p": 0.05, "repetition_penalty": 1.3},
    {"temperature": 0.4, "seed": 1, "presence_penalty": 0.8, "frequency_penalty": 0.4, "logit_bias": {5: 2.0}},
    {"temperature": 0.3, "seed": 2, "repetition_penalty": 0.8},
]
examples = examples_of(max_examples=4, deadline=None)


@st.composite
def prompts(draw: st.DrawFn) -> list[Prompt]:
    """Up to six rows, greedy and sampled ones mixed, most of them with text that repeats."""
    made: list[Prompt] = []
    for index in range(draw(st.integers(1, 6))):
        options: dict[str, Any] = {"max_tokens": draw(st.integers(1, 24)), **draw(st.sampled_from(SAMPLINGS))}
        if draw(st.booleans()):
            made.append(repetitive(str(index), draw(st.integers(0, 50)), draw(st.integers(2, 60)), **options))
        else:
            made.append(make_prompt(str(index), STEM[: draw(st.sampled_from([1, 5, PAGE, 40]))], **options))
    return made


def expect_alone(name: str, engine: Engine, rows: list[Prompt], events: dict[int, list[tuple[str, str]]] | None = None) -> None:
    results = drive(engine, {0: rows[:2], 3: rows[2:]}, events=events)
    cancelled = {id for entries in (events or {}).values() for method, id in entries if method == "cancel"}
    for prompt in rows:
        got, whole = results[prompt.id], alone(name, prompt).tokens
        assert got.tokens == (whole[: len(got.tokens)] if prompt.id in cancelled else whole), prompt
        assert got.accepted_tokens <= got.drafted_tokens
    assert (engine.stats().running, engine.stats().waiting, engine.stats().pages_used) == (0, 0, 0)
    if engine.speculator.draft:
        engine.speculator.draft.check_integrity()


@pytest.mark.parametrize("name", POSITIONAL)
@examples
@given(
    rows=prompts(),
    seed=st.integers(0, 1000),
    events=st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["pause", "cancel"]), st.integers(0, 5)), max_size=4),
    most=st.integers(1, 9),
)
def test_whatever_is_guessed_when(name: str, rows: list[Prompt], seed: int, events: list[tuple[int, str, int]], most: int) -> None:
    """Any choice of guesses, with pauses and cancellations in between."""
    engine = make_engine(name, prefix_cache=seed % 2 == 0)
    engine.speculate(Whims(seed, speculation_tokens=most))
    calls: dict[int, list[tuple[str, str]]] = {}
    for step, method, index in events:
        calls.setdefault(step, []).append((method, str(index)))
        calls.setdefault(step + 15, []).append(("resume", str(index)))
    expect_alone(name, engine, rows, calls)


@pytest.mark.parametrize(("name", "drafter"), [("llama", "gemma3"), ("gemma3", "llama"), ("gpt_oss", "gemma3")])
@examples
@given(rows=prompts(), most=st.integers(1, 6))
def test_a_draft_model_changes_nothing(name: str, drafter: str, rows: list[Prompt], most: int) -> None:
    engine = guessing(name, family(drafter), speculation_tokens=most)
    for _ in range(2):  # the second time the draft model finds its beginnings in its own cache
        expect_alone(name, engine, rows)


@pytest.mark.parametrize("name", STATEFUL)
def test_states_that_cannot_be_taken_back_are_left_alone(name: str) -> None:
    engine = guessing(name)
    expect_alone(name, engine, [repetitive(str(seed), seed) for seed in range(4)])
    assert engine.stats().drafted_tokens == 0


@pytest.mark.parametrize("name", ["llama", "gemma3", "stories260K"])
@pytest.mark.parametrize("draft", [False, True])
def test_preempted_rows(name: str, draft: bool) -> None:
    """Room for about two of five rows, and less for guesses."""
    budget = (26 if draft else 22) * make_engine(name).page_bytes * (2 if draft else 1)
    engine = guessing(name, family(name) if draft else None, kv_cache_bytes=budget)
    expect_alone(name, engine, [repetitive(str(seed), seed, 20 + seed, max_tokens=60, temperature=0.8, seed=seed) for seed in range(5)])
    assert engine.stats().preemptions > 0
    assert engine.stats().drafted_tokens > 0


def test_every_right_guess_is_kept() -> None:
    """A model that drafts for itself is always right, sampled or not: k + 1 tokens a step."""
    rows = [make_prompt(str(index), STEM[: 10 + index], max_tokens=25, **SAMPLINGS[index]) for index in range(3)]
    engine = guessing("llama", family("llama"), speculation_tokens=4)
    results = drive(engine, {0: rows})
    for prompt in rows:
        assert results[prompt.id].tokens == alone("llama", prompt).tokens
        assert results[prompt.id].accepted_tokens == results[prompt.id].drafted_tokens >= 19
    assert engine.stats().steps < 12


@pytest.mark.parametrize("stop_at", range(1, 9))
def test_a_stop_token_among_right_guesses_ends_the_row(stop_at: int) -> None:
    whole = alone("llama", make_prompt("a", STEM[:10], max_tokens=12)).tokens
    stop = (whole[stop_at],)
    prompt = make_prompt("a", STEM[:10], max_tokens=12, stop=stop)
    got = drive(guessing("llama", family("llama"), speculation_tokens=8), {0: [prompt]})["a"]
    assert got.tokens == whole[: whole.index(stop[0])]
    assert got.finish_reason == "stop"


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 5])
def test_no_more_tokens_than_asked_for(max_tokens: int) -> None:
    prompt = make_prompt("a", STEM[:10], max_tokens=max_tokens)
    got = drive(guessing("llama", family("llama"), speculation_tokens=8), {0: [prompt]})["a"]
    assert len(got.tokens) == max_tokens
    assert got.finish_reason == "length"
    assert got.drafted_tokens <= max(0, max_tokens - 2)


def test_up_to_the_end_of_the_context() -> None:
    config = {**CONFIGS["llama"], "max_position_embeddings": 64}
    prompt = make_prompt("a", STEM[:40], max_tokens=24)
    engine = guessing("llama", build("llama", config), max_context=64)
    assert drive(engine, {0: [prompt]})["a"].tokens == alone("llama", prompt).tokens


@pytest.mark.parametrize("draft", [False, True])
def test_log_probabilities_stay_beside_their_tokens(draft: bool) -> None:
    rows = [repetitive(str(seed), seed, max_tokens=20, logprobs=seed) for seed in range(3)]
    results = drive(guessing("llama", family("llama") if draft else None), {0: rows})
    for prompt in rows:
        got, expected = results[prompt.id], alone("llama", prompt)
        assert got.tokens == expected.tokens
        assert len(got.logprobs) == len(got.tokens)
        for one, other in zip(got.logprobs, expected.logprobs, strict=True):
            assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
            assert [token for token, _ in one.top] == [token for token, _ in other.top]


GRAMMARS = [
    Grammar(source='start: "[" (("a" | "b") ","?){2,12} "]"'),
    Grammar(source='start: ("ab" | "ba"){1,5}', after=tuple(range(40))),
    Grammar(source='start: "(" ("x" | "y"){1,3} ")"', after=(CALL, *range(60)), repeats=True),
]


@pytest.mark.parametrize("grammar", GRAMMARS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_grammars_hold_behind_guesses(grammar: Grammar, temperature: float) -> None:
    rows = [
        replace(repetitive(str(seed), seed, max_tokens=30, temperature=temperature, seed=seed, stop=(END,)), grammar=grammar)
        for seed in range(4)
    ]
    free = repetitive("free", 9, max_tokens=30)
    for draft in (None, family("llama")):
        engine = guessing("llama", draft)
        results = drive(engine, {0: [*rows, free]})
        for prompt in (*rows, free):
            expected = alone("llama", prompt)
            assert (results[prompt.id].tokens, results[prompt.id].finish_reason) == (expected.tokens, expected.finish_reason)
        assert engine.stats().accepted_tokens > 0


@pytest.mark.parametrize("budget", [0, 1, 3, 7])
def test_thoughts_are_ended_at_their_budget(budget: int) -> None:
    limit = ReasoningLimit(budget_tokens=budget, open_ids=(), close_ids=(CLOSE_THINK,), forced_ids=(THINK, CLOSE_THINK))
    rows = [replace(repetitive(str(seed), seed, max_tokens=20), reasoning_limit=limit) for seed in range(3)]
    results = drive(guessing("llama", family("llama"), speculation_tokens=6), {0: rows})
    for prompt in rows:
        assert results[prompt.id].tokens == alone("llama", prompt).tokens
        assert results[prompt.id].tokens[budget : budget + 2] == [THINK, CLOSE_THINK]


@pytest.mark.parametrize("name", ["llama/wide", "gemma3/wide"])
def test_quantised_pages(name: str) -> None:
    rows = [repetitive(str(seed), seed, max_tokens=30, logprobs=2) for seed in range(4)]
    results = drive(guessing(name, kv_bits=8), {0: rows})
    for prompt in rows:
        expect_close(results[prompt.id], alone(name, prompt, kv_bits=8), 0.1)


def test_only_known_tokens_are_shared() -> None:
    """What rejected guesses left in the pages is never found by others: a second run out of the cache gives the same."""
    rows = [repetitive(str(seed), seed, 30, max_tokens=40) for seed in range(4)]
    engine = guessing("llama", speculation_tokens=9)
    drive(engine, {0: rows})
    assert engine.stats().accepted_tokens < engine.stats().drafted_tokens
    longer = [make_prompt(row.id, [*row.token_ids, *alone("llama", row).tokens], max_tokens=10) for row in rows]
    results = drive(engine, {0: longer})
    for prompt in longer:
        assert results[prompt.id].cached_tokens >= PAGE * ((len(prompt.token_ids) - 2) // PAGE)
        assert results[prompt.id].tokens == alone("llama", prompt).tokens
    assert set(TRAINED) - set(POSITIONAL) == {"pomona-tiny"}
