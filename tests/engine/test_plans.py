"""Chunks of prompts by kernels for pages or by MLX's attention over a copy: which, how many shapes that asks for, and the same tokens."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.engine.attention import plans
from pomona.engine.attention.plans import KEYS_STEP, LONG, MOST_PAIRS, REMEMBERED, Plans, padded_keys
from tests.engine.harness import alone, drive, make_engine, make_prompt
from tests.families import VOCABULARY

STEM = [(7 * i + 3) % VOCABULARY for i in range(170)]
Shape = tuple[int, int]
"""Tokens and keys."""


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.floats(1e4, 2e7), min_size=1, max_size=60))
def test_no_shape_costs_much_more_by_kernels_than_its_plan(pairs: list[float]) -> None:
    kept = Plans()
    ways = [kept.pay((1, 128, 2048), each) for each in pairs]
    assert ways == sorted(ways)
    assert sum(each for each, planned in zip(pairs, ways, strict=True) if not planned) <= MOST_PAIRS


def test_no_more_shapes_are_kept_in_mind_than_are_planned_elsewhere() -> None:
    kept = Plans()
    assert kept.pay((1, 128, 2048), 2 * MOST_PAIRS)
    for number in range(REMEMBERED):
        kept.pay((1, 128, 4096 + number), 1.0)
    assert not kept.pay((1, 128, 2048), 0.5 * MOST_PAIRS)


@pytest.mark.parametrize("width", [32, 128, 512])
def test_short_chunks_of_a_long_prompt_have_few_shapes(width: int) -> None:
    shapes = {padded_keys(width, end) for end in range(width, 8192 + 1, width)}
    assert shapes == {KEYS_STEP, 2 * KEYS_STEP, 3 * KEYS_STEP, 4 * KEYS_STEP}
    assert padded_keys(LONG, 5000) == 5000


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Shape]:
    """What MLX's attention is asked for, where small chunks count as large ones."""
    shapes: list[Shape] = []
    dense: Callable[..., mx.array] = mx.fast.scaled_dot_product_attention

    def noted(queries: mx.array, keys: mx.array, *rest: Any, **named: Any) -> mx.array:
        if queries.shape[2] > 1:
            shapes.append((queries.shape[2], keys.shape[2]))
        return dense(queries, keys, *rest, **named)

    monkeypatch.setattr(mx.fast, "scaled_dot_product_attention", noted)
    monkeypatch.setattr(plans, "MOST_PAIRS", 1500)
    monkeypatch.setattr(plans, "LONG", 64)
    monkeypatch.setattr(plans, "KEYS_STEP", 64)
    return shapes


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt_oss", "deepseek_v2"])
@pytest.mark.parametrize("budget", [24, 64, 128])
def test_the_laws_hold_whichever_way_a_chunk_goes(name: str, budget: int, asked: list[Shape]) -> None:
    """batched == alone, chunked == whole: the other side is alone and without kernels."""
    rows = [make_prompt(str(i), STEM[i : i + 20 + 50 * i], max_tokens=8, temperature=0.7 * (i % 2), seed=i) for i in range(4)]
    engine = make_engine(name, kernels="reference", step_token_budget=budget, prefix_cache=False)
    for _ in range(2):
        results = drive(engine, {0: rows[:2], 5: rows[2:]})
        for row in rows:
            assert results[row.id].tokens == alone(name, row).tokens
    assert asked


def test_prompts_of_any_length_ask_for_shapes_that_come_again(asked: list[Shape]) -> None:
    """Long chunks end where those of others end, short ones see keys of few lengths."""
    engine = make_engine("llama", kernels="reference", step_token_budget=32, prefix_cache=False)
    for number in range(8):
        drive(engine, {0: [make_prompt(f"{number}", STEM[: 120 + 6 * number], max_tokens=2)]})
    assert {keys for _, keys in asked} <= {64, 128, 192}
    assert {tokens for tokens, _ in asked} <= {32}
