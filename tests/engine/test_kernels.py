"""Paged attention: what the kernels must do, by their plain reference; and the laws where an engine attends that way."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.engine.attention.choice import choose
from pomona.engine.attention.cuda import cut
from pomona.engine.attention.paged import DecodeStep, Pools, Reference, attend_chunk
from pomona.engine.attention.views import DecodeView, GroupView, Place, padded
from pomona.engine.cache.layers import PagedLayer, PagePool, equip
from tests.engine.harness import PAGE, alone, drive, make_engine, make_prompt
from tests.engine.scenes import Floats, Scene, numpy, scenes
from tests.families import VOCABULARY

STEM = [(7 * i + 3) % VOCABULARY for i in range(90)]
examples = settings(max_examples=60, deadline=None)
KINDS = ["llama", "gemma3", "gpt_oss", "gemma2", "deepseek_v2", "qwen3_next", "falcon_h1", "lfm2", "stories260K"]
"""Full attention, windows, sinks, rows that run one by one, latent keys, three ways of recurrent states, trained weights."""


def dense(scene: Scene, row: int) -> Floats:
    """(query_heads, values' dim) of one row, in float64, from its own list of keys and values."""
    start, heads = scene.starts[row], scene.new_keys.shape[1]
    keys = np.concatenate([scene.row_keys(row), scene.new_keys[row].astype(np.float64)], axis=1)[:, : start + 1]
    values = np.concatenate([scene.row_values(row), scene.new_values[row].astype(np.float64)], axis=1)[:, : start + 1]
    first = 0 if scene.window is None else max(0, start - scene.window + 1)
    mixed: list[Floats] = []
    for head, query in enumerate(scene.queries[row, :, 0].astype(np.float64)):
        own = head // (scene.queries.shape[1] // heads)
        weights = np.exp(keys[own, first:] @ query * scene.scale)
        rest = 0.0 if scene.sinks is None else math.exp(scene.sinks[head])
        mixed.append(weights @ values[own, first:] / (weights.sum() + rest))
    return np.stack(mixed)


@examples
@given(scene=scenes())
def test_the_reference_is_attention_over_each_rows_own_keys(scene: Scene) -> None:
    step = scene.step(mx.float32)
    mixed, pools = Reference().attend(step)
    for row in scene.rows:
        np.testing.assert_allclose(numpy(mixed[row, :, 0]), dense(scene, row), atol=2e-5)
    again = replace(step, new=None, pools=pools)
    assert mx.allclose(Reference().attend(again)[0][: len(scene.rows)], mixed[: len(scene.rows)], atol=1e-6)


@examples
@given(
    rows=st.integers(1, 3),
    heads=st.integers(1, 3),
    repeats=st.sampled_from([1, 2, 3, 4, 6]),
    groups=st.integers(1, 4),
    begins=st.integers(0, 40),
    with_sinks=st.booleans(),
)
def test_a_chunk_is_causal_attention_over_the_pages(
    rows: int, heads: int, repeats: int, groups: int, begins: int, with_sinks: bool
) -> None:
    tokens = 1 << (16 // repeats).bit_length() - 1
    width, dim = groups * tokens, 8
    starts = [begins + 3 * row for row in range(rows)]
    blocks = -(-(max(starts) + width) // PAGE)
    keys, values = (mx.random.normal((heads, 1 + rows * blocks, PAGE, dim)) for _ in range(2))
    table = 1 + mx.arange(rows * blocks, dtype=mx.uint32).reshape(rows, blocks)
    place = Place(table=table, starts=mx.array(starts), counts=mx.array([width] * rows), window=None, page_tokens=PAGE)
    queries = mx.random.normal((rows, heads * repeats, width, dim))
    sinks = mx.random.normal((heads * repeats,)) if with_sinks else None
    step = DecodeStep(queries=queries, new=None, pools=Pools(keys, values), place=place, scale=dim**-0.5, sinks=sinks, tokens=tokens)
    mixed, _ = attend_chunk(Reference(), step, {})
    own = Reference().gather(Pools(keys, values), place, 0, blocks * PAGE)
    mask = place.visible(width, None)[:, None]
    assert mx.allclose(mixed, mx.fast.scaled_dot_product_attention(queries, *own, scale=dim**-0.5, mask=mask, sinks=sinks), atol=1e-5)


@examples
@given(scene=scenes())
def test_only_the_places_of_new_tokens_change(scene: Scene) -> None:
    step = scene.step(mx.float32)
    pools = Reference().attend(step)[1]
    for before, after, new in ((step.pools.keys, pools.keys, scene.new_keys), (step.pools.values, pools.values, scene.new_values)):
        expected = numpy(before)
        for row in scene.rows:
            page, slot = scene.slot(row)
            expected[:, page, slot] = new[row, :, 0]
        assert mx.array_equal(after[:, 1:], mx.array(expected[:, 1:]))


@examples
@given(data=st.data())
def test_written_tokens_are_gathered_in_order(data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=4))
    starts = data.draw(st.lists(st.integers(0, 20), min_size=len(counts), max_size=len(counts)))
    blocks = [-(-(start + count) // PAGE) for start, count in zip(starts, counts, strict=True)]
    ends: np.ndarray[Any, Any] = np.cumsum([1, *blocks])
    table = padded([list(range(a, b)) for a, b in pairwise(ends.tolist())], len(counts), max(blocks) + 1)
    tokens = mx.random.normal((len(counts), 2, max(counts), 4))
    zeros = mx.zeros((2, int(ends[-1]), PAGE, 4))
    place = Place(table=mx.array(table), starts=mx.array(starts), counts=mx.array(counts), window=None, page_tokens=PAGE)
    pools = Reference().write(Pools(zeros, zeros), tokens, -tokens, place)
    for row, (start, count) in enumerate(zip(starts, counts, strict=True)):
        keys, values = Reference().gather(pools, place, start, count)
        assert mx.array_equal(keys[row], tokens[row, :, :count])
        assert mx.array_equal(values[row], -tokens[row, :, :count])


@given(
    rows=st.lists(st.integers(0, 60), min_size=1, max_size=4),
    window=st.sampled_from([None, 1, 5, 16, 40]),
    extra=st.integers(0, 3),
    asked=st.sampled_from([None, 3, 50]),
)
@settings(deadline=None)
def test_a_view_of_arrays_says_what_a_view_of_lists_says(rows: list[int], window: int | None, extra: int, asked: int | None) -> None:
    firsts = [0 if window is None else max(0, start - window + 1) // PAGE for start in rows]
    seen = [
        list(range(10 * row + 1 + first, 10 * row + 2 + start // PAGE)) for row, (start, first) in enumerate(zip(rows, firsts, strict=True))
    ]
    lists = GroupView(
        window=window, page_tokens=PAGE, starts=rows, counts=[1] * len(rows), first_blocks=firsts, seen=seen, offset=mx.array(rows)
    )
    table = mx.array(padded(seen, len(rows), lists.blocks + extra))
    arrays = DecodeView(window=window, page_tokens=PAGE, table=table, starts=mx.array(rows, dtype=mx.int32))
    mask, wanted = arrays.mask(asked, True), lists.mask(asked, True)
    assert isinstance(mask, mx.array)
    assert isinstance(wanted, mx.array)
    if not lists.dense:
        assert mx.array_equal(mask[..., : wanted.shape[-1]], wanted)
        assert not mx.any(mask[..., wanted.shape[-1] :])
    pages, slots = arrays.place.slots(1)
    assert mx.array_equal(pages, lists.pages)
    assert mx.array_equal(slots, lists.slots)
    assert mx.array_equal(arrays.place.first_blocks, mx.array(firsts))


@pytest.mark.parametrize("setting", ["auto", "reference"])
def test_a_model_that_attends_itself_to_what_prompts_see_gets_all_keys(setting: Literal["auto", "reference"]) -> None:
    """Though it leaves single tokens to kernels, as some models with latent keys do."""
    layer = PagedLayer(*(PagePool(2, 8, mx.float32, PAGE, None) for _ in range(2)))
    layer.key_pool.resize(4)
    layer.value_pool.resize(4)
    equip([layer], choose(setting))
    tokens = mx.random.normal((1, 2, 6, 8))

    def fetch(start: int, count: int) -> tuple[mx.array, mx.array]:
        layer.view = GroupView(window=None, page_tokens=PAGE, starts=[start], counts=[count], first_blocks=[0], seen=[[1]], offset=start)
        new = tokens[:, :, start : start + count]
        return layer.update_and_fetch(new, new * 2)

    for start, count in ((0, 1), (1, 1), (2, 4)):
        keys, values = fetch(start, count)
        if count == 1:
            assert layer.attend(tokens[:, :, start : start + 1], 1.0, layer.make_mask(count), None) is not None
        else:
            mx.eval(keys, values)
            assert mx.array_equal(keys[:, :, :6], tokens)
            assert mx.array_equal(values[:, :, :6], tokens * 2)
        mx.eval(layer.end_pass())


@pytest.mark.parametrize("kernels", ["auto", "reference"])
@pytest.mark.parametrize("name", KINDS)
def test_the_laws_hold_with_kernels(name: str, kernels: str) -> None:
    """batched == alone, chunked == whole, cached == uncached: the other side is alone and without kernels."""
    kinds: list[dict[str, Any]] = [{}, {"temperature": 0.8, "seed": 3}, {"temperature": 1.2, "seed": 4, "top_p": 0.9, "logprobs": 1}]
    rows = [make_prompt(str(i), STEM[: 2 + 17 * i], max_tokens=14, **kinds[i % 3]) for i in range(6)]
    engine = make_engine(name, kernels=kernels, step_token_budget=24)
    for _ in range(2):
        results = drive(engine, {0: rows[:3], 4: rows[3:]})
        for row in rows:
            assert results[row.id].tokens == alone(name, row, kernels="off").tokens


@pytest.mark.parametrize("kernels", ["auto", "reference"])
@pytest.mark.parametrize("name", ["llama", "gpt_oss", "deepseek_v2"])
def test_a_row_that_was_put_back_or_guessed_ahead_goes_on_the_same(name: str, kernels: str) -> None:
    budget = 22 * make_engine(name).page_bytes
    engine = make_engine(name, kernels=kernels, kv_cache_bytes=budget, speculation="lookup")
    rows = [make_prompt(str(i), STEM[i : i + 20 + i], max_tokens=45) for i in range(5)]
    results = drive(engine, {0: rows})
    for row in rows:
        assert results[row.id].tokens == alone(name, row, kernels="off").tokens
    assert engine.stats().preemptions > 0


def test_rows_are_cut_only_where_there_are_few_or_long_ones() -> None:
    assert [cut(rows * 8, keys) for rows, keys in ((1, 64), (1, 288), (128, 288), (32, 2080))] == [1, 1, 1, 1]
    assert [cut(rows * 8, keys) for rows, keys in ((1, 2080), (8, 16416), (32, 16416), (1, 131072))] == [8, 8, 8, 64]


@pytest.mark.parametrize("bits", [4, 8])
def test_quantised_pages_go_their_own_way(bits: int) -> None:
    row = make_prompt("a", STEM[:40], max_tokens=20)
    results = [
        drive(make_engine("llama/wide", kv_bits=bits, kernels=kernels), {0: [row]})["a"].tokens for kernels in ("auto", "reference", "off")
    ]
    assert results[0] == results[1] == results[2]
