"""Who goes first, and what rows that arrive together share."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.core.generation import Priority, Prompt
from pomona.engine.engine import Engine
from pomona.engine.scheduling.waiting import STARTS_BETWEEN
from pomona.engine.sequence import Sequence
from tests.engine.harness import PAGE, alone, drive, make_engine, make_prompt
from tests.families import VOCABULARY

STEM = [(5 * i + 1) % VOCABULARY for i in range(120)]
RANK: dict[Priority, int] = {"high": 0, "normal": 1, "low": 2}


def ranked(id: str, priority: Priority, *, length: int = 5, max_tokens: int = 3) -> Prompt:
    start = sum(map(ord, id)) % 40
    return replace(make_prompt(id, STEM[start : start + length], max_tokens=max_tokens), priority=priority)


def ends(engine: Engine) -> Iterator[str]:
    """The rows in the order in which they end."""
    while engine.has_work:
        for id, step in engine.step():
            if step.finish_reason:
                yield id


@settings(max_examples=10, deadline=None)
@given(priorities=st.lists(st.sampled_from(["low", "normal", "high"]), min_size=1, max_size=12))
def test_higher_classes_go_first_and_each_in_order_of_arrival(priorities: list[Priority]) -> None:
    engine = make_engine("llama", max_rows=1)
    for index, priority in enumerate(priorities):
        engine.add(ranked(f"{index:02}", priority))
    wanted = sorted(range(len(priorities)), key=lambda index: (RANK[priorities[index]], index))
    assert list(ends(engine)) == [f"{index:02}" for index in wanted]


def test_low_rows_do_not_starve() -> None:
    """One low row, and after each end a new row of a higher class: its class gets a start after so many of theirs."""
    engine = make_engine("llama", max_rows=1, normal_first_token_seconds=600)  # else a slow machine parks it as soon as it starts
    engine.add(ranked("low", "low", max_tokens=1))
    for index in range(2):
        engine.add(ranked(f"normal-{index}", "normal", max_tokens=1))
    order: list[str] = []
    for number, id in enumerate(ends(engine), start=2):
        order.append(id)
        if id == "low":
            break
        engine.add(ranked(f"normal-{number}", "normal", max_tokens=1))
    assert order[-1] == "low"
    assert len(order) == STARTS_BETWEEN + 1


def test_lower_classes_give_way_first_when_pages_are_short() -> None:
    """Three rows fit while they are short. The oldest is of the lowest class and is the one that is put back."""
    budget = 22 * make_engine("llama").page_bytes
    engine = make_engine("llama", kv_cache_bytes=budget, prefix_cache=False)
    rows = [ranked("a", "low", length=30, max_tokens=60), ranked("b", "normal", length=30, max_tokens=60)]
    rows.append(ranked("c", "high", length=30, max_tokens=60))
    for row in rows:
        engine.add(row)
    order = list(ends(engine))
    assert order[-1] == "a"
    assert engine.stats().preemptions > 0
    results = drive(make_engine("llama", kv_cache_bytes=budget), {0: rows})
    assert {row.id: results[row.id].tokens for row in rows} == {row.id: alone("llama", row).tokens for row in rows}


@pytest.mark.parametrize("name", ["llama", "gemma3", "deepseek_v2", "qwen3_next"])
def test_copies_of_a_prompt_compute_it_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five answers to one prompt of 90 tokens: the last token of each is the input of its first decode pass, the rest is computed once."""
    engine = make_engine(name, step_token_budget=64)
    computed: list[int] = []
    prefill = engine._runner.prefill  # pyright: ignore[reportPrivateUsage]

    def count(chunks: list[tuple[Sequence, int]]) -> object:
        computed.extend(tokens for _, tokens in chunks)
        return prefill(chunks)

    monkeypatch.setattr(engine._runner, "prefill", count)  # pyright: ignore[reportPrivateUsage]
    rows = [make_prompt(str(i), STEM[:90], max_tokens=9, temperature=1.0, seed=i) for i in range(5)]
    results = drive(engine, {0: rows})
    assert {row.id: results[row.id].tokens for row in rows} == {row.id: alone(name, row).tokens for row in rows}
    rest = 89 % PAGE
    assert sum(computed) == 89 + 4 * rest


@pytest.mark.parametrize("name", ["llama", "gemma3", "qwen3_next", "deepseek_v2"])
@pytest.mark.parametrize("pages", [400, 24])
def test_parked_equals_not(name: str, pages: int) -> None:
    """High rows take the places of low ones at once; these go on where they stood, or are computed again where their pages were needed."""
    budget = pages * make_engine(name).page_bytes
    engine = make_engine(name, kv_cache_bytes=budget, max_rows=2, high_first_token_seconds=1e-6, prefix_cache=False)
    low = [replace(make_prompt(f"low-{i}", STEM[i : i + 40], max_tokens=30, temperature=0.9, seed=i), priority="low") for i in range(3)]
    high = [replace(make_prompt(f"high-{i}", STEM[i : i + 50], max_tokens=8, temperature=0.9, seed=i), priority="high") for i in range(4)]
    results = drive(engine, {0: low, 10: high[:1], 14: high[1:3], 30: high[3:]})
    assert {row.id: results[row.id].tokens for row in (*low, *high)} == {row.id: alone(name, row).tokens for row in (*low, *high)}
    stats = engine.stats()
    assert stats.parkings > 0
    assert (stats.parked, stats.pages_used) == (0, 0)


@settings(max_examples=10, deadline=None)
@given(callers=st.lists(st.sampled_from(["", "a", "b"]), min_size=4, max_size=12), gap=st.sampled_from([1e-6, 0.2]))
def test_callers_and_targets_change_nothing(callers: list[str], gap: float) -> None:
    engine = make_engine("llama", max_rows=3, normal_gap_seconds=gap, normal_first_token_seconds=1e-6)
    rows = [replace(make_prompt(str(i), STEM[i : i + 9 * (i % 4) + 3], max_tokens=6), caller=caller) for i, caller in enumerate(callers)]
    results = drive(engine, {0: rows[:4], 5: rows[4:]})
    assert {row.id: results[row.id].tokens for row in rows} == {row.id: alone("llama", row).tokens for row in rows}
