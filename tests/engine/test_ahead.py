"""Passes that are started while the one before runs: rows get the tokens that they get otherwise."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher

from pomona.core.generation import Grammar, Prompt
from tests.engine.harness import TRAINED, drive, expect_close, make_engine, make_prompt
from tests.engine.test_laws import STEM, expect_alone, prompts

MODELS = ["llama", "gemma3", "qwen3_next", "gemma2"]
"""Full attention, windows, recurrent states, rows that run one by one."""
models = pytest.mark.parametrize("name", MODELS)
examples = settings(max_examples=3, deadline=None)


@pytest.mark.parametrize("name", [*MODELS, *TRAINED])
@examples
@given(rows=prompts(), gap=st.integers(0, 2), speculation=st.sampled_from(["off", "lookup"]))
def test_any_schedule_equals_alone(name: str, rows: list[Prompt], gap: int, speculation: str) -> None:
    engine = make_engine(name, launch_ahead="on", speculation=speculation)
    arrivals: dict[int, list[Prompt]] = {}
    for index, prompt in enumerate(rows):
        arrivals.setdefault(index * gap, []).append(prompt)
    for _ in range(2):
        expect_alone(name, rows, {id: result.tokens for id, result in drive(engine, arrivals).items()})


@pytest.mark.parametrize("name", MODELS[:3])
def test_rows_that_are_put_back_paused_and_cancelled(name: str) -> None:
    budget = 22 * make_engine(name).page_bytes
    engine = make_engine(name, kv_cache_bytes=budget, launch_ahead="on")
    rows = [make_prompt(str(i), STEM[i : i + 20 + i], max_tokens=45, temperature=0.8, seed=i) for i in range(5)]
    cancelled = make_prompt("cancelled", STEM[40:70], max_tokens=60)
    events = {2: [("pause", "0")], 9: [("resume", "0"), ("cancel", "cancelled")], 12: [("shrink", "")]}
    results = drive(engine, {0: [*rows, cancelled]}, events=events)
    expect_alone(name, rows, {id: result.tokens for id, result in results.items() if id != "cancelled"})
    assert engine.stats().preemptions > 0
    assert engine.stats().pages_used == 0


@models
def test_rows_with_grammars_scores_and_log_probabilities(name: str) -> None:
    source = LLMatcher.grammar_from_json_schema(json.dumps({"type": "array", "items": {"type": "boolean"}, "maxItems": 3}))
    free = make_prompt("free", STEM[:30], max_tokens=20, logprobs=2, repetition_penalty=1.2)
    bound = Prompt(id="bound", token_ids=tuple(STEM[:12]), sampling=free.sampling, max_tokens=20, grammar=Grammar(source=source))
    scored = Prompt(id="scored", token_ids=tuple(STEM), sampling=free.sampling, max_tokens=4, prompt_logprobs=1)
    both = [drive(make_engine(name, launch_ahead=ahead), {0: [free, bound], 2: [scored]}) for ahead in ("on", "off")]
    for id, result in both[0].items():  # who shares a pass goes by the clock, and the last digits go by that
        assert (result.tokens, result.finish_reason) == (both[1][id].tokens, both[1][id].finish_reason)
        expect_close(result, both[1][id], 1e-4)
    assert len(both[0]["scored"].prompt_logprobs) == len(STEM) - 1
