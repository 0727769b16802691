"""Thoughts that are ended by force: exactly at the budget, whatever else happens."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher

from pomona.core.errors import InvalidRequest
from pomona.core.generation import Grammar, Prompt, ReasoningLimit
from tests.engine.harness import CLOSE_THINK, END, THINK, alone, drive, ids_of, make_engine, make_prompt
from tests.families import VOCABULARY

STEM = [(7 * i + 3) % VOCABULARY for i in range(90)]
FORCED = (*ids_of("so:"), CLOSE_THINK, *ids_of("- "))
NEVER = {THINK: -1000.0, CLOSE_THINK: -1000.0, END: -1000.0}


def thinker(id: str, budget: int, *, opened: bool = True, length: int = 9, max_tokens: int = 30, **sampling: Any) -> Prompt:
    """A prompt whose thought is open already, or opens with its mark."""
    limit = ReasoningLimit(budget_tokens=budget, open_ids=() if opened else (THINK,), close_ids=(CLOSE_THINK,), forced_ids=FORCED)
    return replace(make_prompt(id, STEM[:length], max_tokens=max_tokens, stop=(END,), **sampling), reasoning_limit=limit)


@pytest.mark.parametrize("budget", [0, 1, 2, 7, 24])
def test_the_end_is_forced_at_the_budget(budget: int) -> None:
    """Before it the row says what it would say without a limit."""
    prompt = thinker("a", budget, logit_bias=NEVER, temperature=1.0, seed=4)
    free = drive(make_engine("llama"), {0: [replace(prompt, reasoning_limit=None)]})["a"].tokens
    tokens = drive(make_engine("llama"), {0: [prompt]})["a"].tokens
    assert tokens[:budget] == free[:budget]
    assert tuple(tokens[budget : budget + len(FORCED)]) == FORCED[: 30 - budget]
    assert CLOSE_THINK not in tokens[budget + len(FORCED) :]


def test_a_thought_that_ends_itself_is_left_alone() -> None:
    prompt = thinker("a", 6, logit_bias={CLOSE_THINK: 1000.0, END: -1000.0}, max_tokens=12)
    tokens = drive(make_engine("llama"), {0: [prompt]})["a"].tokens
    assert tokens == drive(make_engine("llama"), {0: [replace(prompt, reasoning_limit=None)]})["a"].tokens
    assert tokens[0] == CLOSE_THINK


def test_an_answer_that_does_not_think_is_left_alone() -> None:
    prompt = thinker("a", 3, opened=False, logit_bias=NEVER)
    assert drive(make_engine("llama"), {0: [prompt]})["a"].tokens == alone("llama", replace(prompt, reasoning_limit=None)).tokens


def test_thoughts_that_open_again_go_on_counting() -> None:
    """The opening mark is always the likeliest: each time it comes, the rest of the budget is less, at last nothing."""
    prompt = thinker("a", 5, opened=False, logit_bias={**NEVER, THINK: 1000.0}, max_tokens=26)
    tokens = drive(make_engine("llama"), {0: [prompt]})["a"].tokens
    assert tokens[:6] == [THINK] * 6
    assert tuple(tokens[6 : 6 + len(FORCED)]) == FORCED
    assert tokens[6 + len(FORCED)] == THINK
    assert tuple(tokens[7 + len(FORCED) : 7 + 2 * len(FORCED)]) == FORCED


def test_marks_of_several_tokens() -> None:
    """The letters of a mark one by one; another order of them is no mark."""
    opening, closing = tuple(ids_of("<t>")), tuple(ids_of("</t>"))
    source = LLMatcher.grammar_from_regex("t<><t>aaa")
    limit = ReasoningLimit(budget_tokens=3, open_ids=opening, close_ids=closing, forced_ids=closing)
    prompt = replace(make_prompt("a", STEM[:9], max_tokens=20, stop=(END,)), grammar=Grammar(source=source), reasoning_limit=limit)
    assert drive(make_engine("llama"), {0: [prompt]})["a"].tokens == ids_of("t<><t>aaa")  # nothing is forced into a grammar
    biased = replace(prompt, grammar=None, sampling=replace(prompt.sampling, logit_bias=NEVER))
    forced = drive(make_engine("llama"), {0: [replace(biased, reasoning_limit=replace(limit, open_ids=()))]})["a"].tokens
    assert tuple(forced[3:7]) == closing


def test_a_forced_end_begins_the_grammar_behind_it() -> None:
    """Also where the forced text goes on behind the mark that is the grammar's trigger."""
    grammar = Grammar(source=LLMatcher.grammar_from_regex("[xy]{2}"), after=(CLOSE_THINK,))
    prompt = replace(thinker("a", 4, logit_bias=NEVER), grammar=grammar)
    result = drive(make_engine("llama"), {0: [prompt]})["a"]
    assert tuple(result.tokens[4 : 4 + len(FORCED)]) == FORCED
    assert result.finish_reason == "stop"
    assert set(result.tokens[4 + len(FORCED) :]) <= set(ids_of("xy"))
    assert len(result.tokens) == 4 + len(FORCED) + 2


@pytest.mark.parametrize("name", ["llama", "gemma2", "qwen3_next"])
@settings(max_examples=5, deadline=None)
@given(
    budgets=st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.sampled_from([3, 20, 40])), min_size=2, max_size=5),
    gap=st.integers(0, 3),
)
def test_any_schedule_equals_alone(name: str, budgets: list[tuple[int, bool, int]], gap: int) -> None:
    rows = [
        thinker(str(i), budget, opened=opened, length=length, temperature=[0.0, 1.0][i % 2], seed=i, logit_bias={THINK: 6.0})
        for i, (budget, opened, length) in enumerate(budgets)
    ]
    engine = make_engine(name)
    arrivals: dict[int, list[Prompt]] = {}
    for index, prompt in enumerate(rows):
        arrivals.setdefault(index * gap, []).append(prompt)
    results = drive(engine, arrivals)
    for prompt in rows:
        assert results[prompt.id].tokens == alone(name, prompt).tokens


def test_preempted_equals_not() -> None:
    budget = 18 * make_engine("llama").page_bytes
    engine = make_engine("llama", kv_cache_bytes=budget)
    rows = [thinker(str(i), 20 + i, length=20 + i, max_tokens=60, temperature=0.8, seed=i) for i in range(5)]
    results = drive(engine, {0: rows})
    assert {row.id: results[row.id].tokens for row in rows} == {row.id: alone("llama", row).tokens for row in rows}
    assert engine.stats().preemptions > 0


def test_forced_ids_must_be_tokens() -> None:
    limit = ReasoningLimit(budget_tokens=1, open_ids=(), close_ids=(1,), forced_ids=(VOCABULARY,))
    with pytest.raises(InvalidRequest, match=str(VOCABULARY)):
        make_engine("llama").add(replace(make_prompt("a", [1]), reasoning_limit=limit))
