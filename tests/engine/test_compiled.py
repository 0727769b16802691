"""Compiled decode passes: rows get the tokens that they get otherwise, whatever shapes their passes are padded to."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.core.generation import Prompt
from pomona.engine.passes.lines import padded_blocks, padded_rows
from tests.engine.harness import drive, make_engine, make_prompt
from tests.engine.test_laws import STEM, expect_alone, prompts

MODELS = ["llama", "gpt_oss", "gemma2"]
"""Full attention, windows and sinks, rows that run one by one."""
examples = settings(max_examples=2, deadline=None)


@pytest.mark.parametrize("name", [*MODELS, "stories260K"])
@examples
@given(rows=prompts(), gap=st.integers(0, 2), ahead=st.sampled_from(["on", "off"]), speculation=st.sampled_from(["off", "lookup"]))
def test_any_schedule_equals_alone(name: str, rows: list[Prompt], gap: int, ahead: str, speculation: str) -> None:
    engine = make_engine(name, kernels="reference", compile="on", launch_ahead=ahead, speculation=speculation)
    assert not any("compiled" in warning for warning in engine.warnings)
    arrivals: dict[int, list[Prompt]] = {}
    for index, prompt in enumerate(rows):
        arrivals.setdefault(index * gap, []).append(prompt)
    for _ in range(2):
        expect_alone(name, rows, {id: result.tokens for id, result in drive(engine, arrivals).items()})


@pytest.mark.parametrize("name", ["llama"])
def test_rows_that_are_put_back_paused_and_cancelled(name: str) -> None:
    budget = 22 * make_engine(name).page_bytes
    engine = make_engine(name, kv_cache_bytes=budget, kernels="reference", compile="on", launch_ahead="on")
    rows = [make_prompt(str(i), STEM[i : i + 20 + i], max_tokens=45, temperature=0.8, seed=i) for i in range(5)]
    cancelled = make_prompt("cancelled", STEM[40:70], max_tokens=60)
    events = {2: [("pause", "0")], 9: [("resume", "0"), ("cancel", "cancelled")], 12: [("shrink", "")]}
    results = drive(engine, {0: [*rows, cancelled]}, events=events)
    expect_alone(name, rows, {id: result.tokens for id, result in results.items() if id != "cancelled"})
    assert engine.stats().preemptions > 0
    assert engine.stats().pages_used == 0


@given(count=st.integers(1, 3000))
def test_sizes_hold_what_they_must_and_come_again(count: int) -> None:
    rows, plain, blocks = padded_rows(count, plain=False), padded_rows(count, plain=True), padded_blocks(count)
    assert count <= rows <= max(count, count * 1.5)
    assert count <= plain <= max(8, 2 * count)
    assert padded_rows(plain, plain=True) == plain
    assert count <= blocks <= max(8, 2 * count)
    assert padded_rows(rows, plain=False) == rows
    assert padded_blocks(blocks) == blocks
