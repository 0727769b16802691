"""The laws: whatever else happens, a row gets the tokens that it gets alone."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.core.generation import Prompt
from tests.engine.harness import PAGE, TRAINED, alone, drive, make_engine, make_prompt
from tests.families import FAMILIES, VOCABULARY

families = pytest.mark.parametrize("name", FAMILIES)
every_model = pytest.mark.parametrize("name", [*FAMILIES, *TRAINED])
examples = settings(max_examples=5, deadline=None)

STEM = [(7 * i + 3) % VOCABULARY for i in range(90)]


@st.composite
def prompts(draw: st.DrawFn) -> list[Prompt]:
    """Up to six prompts, many of them with a common beginning, greedy and sampled ones mixed."""
    made: list[Prompt] = []
    for index in range(draw(st.integers(2, 6))):
        shared = draw(st.sampled_from([0, 5, PAGE, 3 * PAGE, 70]))
        own = draw(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=6))
        sampling: dict[str, Any] = draw(
            st.sampled_from(
                [
                    {},
                    {"temperature": 1.0, "seed": index},
                    {"temperature": 0.7, "seed": 7, "top_p": 0.8, "top_k": 20},
                    {"temperature": 1.5, "seed": index, "min_p": 0.05, "repetition_penalty": 1.3},
                    {"presence_penalty": 0.8, "frequency_penalty": 0.4, "logit_bias": {5: 2.0}},
                ]
            )
        )
        made.append(make_prompt(str(index), STEM[:shared] + own, max_tokens=draw(st.integers(1, 14)), **sampling))
    return made


def expect_alone(name: str, rows: list[Prompt], results: dict[str, list[int]]) -> None:
    for prompt in rows:
        assert results[prompt.id] == alone(name, prompt).tokens, prompt


@every_model
@examples
@given(rows=prompts(), gap=st.integers(0, 3), budget=st.sampled_from([16, 24, 64]), share=st.booleans())
def test_any_schedule_equals_alone(name: str, rows: list[Prompt], gap: int, budget: int, share: bool) -> None:
    """batched == alone, chunked == whole, cached == uncached, same seed == same text."""
    engine = make_engine(name, step_token_budget=budget, prefix_cache=share)
    arrivals: dict[int, list[Prompt]] = {}
    for index, prompt in enumerate(rows):
        arrivals.setdefault(index * gap, []).append(prompt)
    for _ in range(2):  # the second time round everything may come out of the prefix cache
        results = drive(engine, arrivals)
        expect_alone(name, rows, {id: result.tokens for id, result in results.items()})


@families
@examples
@given(rows=prompts(), pauses=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5)), max_size=4))
def test_pausing_changes_nothing(name: str, rows: list[Prompt], pauses: list[tuple[int, int]]) -> None:
    events: dict[int, list[tuple[str, str]]] = {}
    for step, index in pauses:
        events.setdefault(step, []).append(("pause", str(index)))
        events.setdefault(step + 20, []).append(("resume", str(index)))
    results = drive(make_engine(name), {0: rows}, events=events)
    expect_alone(name, rows, {id: result.tokens for id, result in results.items()})


@families
@examples
@given(rows=prompts(), cancels=st.dictionaries(st.integers(0, 5), st.integers(0, 10), min_size=1))
def test_cancelling_frees_everything_and_disturbs_nobody(name: str, rows: list[Prompt], cancels: dict[int, int]) -> None:
    engine = make_engine(name, prefix_cache=False)
    events: dict[int, list[tuple[str, str]]] = {}
    for index, step in cancels.items():
        events.setdefault(step, []).append(("cancel", str(index)))
    results = drive(engine, {0: rows}, events=events)
    for prompt in rows:
        got, whole = results[prompt.id].tokens, alone(name, prompt).tokens
        assert got == whole[: len(got)] if int(prompt.id) in cancels else got == whole
    stats = engine.stats()
    assert (stats.running, stats.waiting, stats.pages_used, stats.pages_cached) == (0, 0, 0, 0)


@pytest.mark.parametrize("name", ["llama", "gemma3", "qwen3_next", "deepseek_v2", "stories260K"])
@pytest.mark.parametrize("share", [True, False])
def test_preempted_equals_not(name: str, share: bool) -> None:
    """Room for about two of five long rows: the young ones are put back again and again."""
    budget = 22 * make_engine(name).page_bytes
    engine = make_engine(name, kv_cache_bytes=budget, prefix_cache=share)
    rows = [make_prompt(str(i), STEM[i : i + 20 + i], max_tokens=60, temperature=0.8, seed=i) for i in range(5)]
    results = drive(engine, {0: rows})
    expect_alone(name, rows, {id: result.tokens for id, result in results.items()})
    assert engine.stats().preemptions > 0


@every_model
def test_log_probabilities_do_not_depend_on_the_batch(name: str) -> None:
    rows = [make_prompt(str(i), STEM[: 5 + 9 * i], logprobs=i if i != 1 else None) for i in range(4)]
    results = drive(make_engine(name), {0: rows})
    for prompt in rows:
        got, expected = results[prompt.id], alone(name, prompt)
        assert len(got.logprobs) == (0 if prompt.sampling.logprobs is None else len(got.tokens))
        for one, other in zip(got.logprobs, expected.logprobs, strict=True):
            assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
            assert len(one.top) == prompt.sampling.logprobs
            assert [p for _, p in one.top] == pytest.approx([p for _, p in other.top], abs=1e-4)


@every_model
def test_a_repeated_prompt_is_cached(name: str) -> None:
    engine = make_engine(name)
    prompt = make_prompt("a", STEM[:50])
    first = drive(engine, {0: [prompt]})["a"]
    second = drive(engine, {0: [prompt]})["a"]
    assert first.cached_tokens == 0
    assert second.cached_tokens == 48
    assert second.tokens == first.tokens
