"""The C kernels of CPUs: what their reference says, and the same bits however tokens are put together."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.engine.attention.choice import choose
from pomona.engine.attention.cpu import CpuKernels
from pomona.engine.attention.paged import DecodeStep, Pools, Reference
from pomona.engine.attention.views import Place, padded
from tests.engine.harness import drive, make_engine, make_prompt
from tests.engine.scenes import Scene, make_scene, numpy

examples = settings(max_examples=60, deadline=None)
DIMS = [(8, 8), (16, 16), (24, 40), (64, 64), (80, 80), (192, 128)]


@pytest.fixture(scope="module")
def kernels() -> CpuKernels:
    found = choose("auto")
    assert isinstance(found, CpuKernels), "these tests need a C compiler"
    return found


@st.composite
def wide_scenes(draw: st.DrawFn) -> Scene:
    heads, repeats = draw(st.sampled_from([(1, 1), (2, 3), (1, 8), (4, 2), (1, 40)]))
    return make_scene(
        draw(st.lists(st.integers(0, 200), min_size=1, max_size=6)),
        heads=heads,
        repeats=repeats,
        dims=draw(st.sampled_from(DIMS)),
        page_tokens=draw(st.sampled_from([4, 16, 32])),
        window=draw(st.sampled_from([None, None, 1, 7, 33])),
        sinks=draw(st.booleans()),
        shared=draw(st.integers(0, 3)),
        padding=draw(st.integers(0, 2)),
        wider=draw(st.integers(0, 2)),
        seed=draw(st.integers(0, 1000)),
    )


@examples
@given(scene=wide_scenes())
def test_a_decode_step_does_what_the_reference_says(kernels: CpuKernels, scene: Scene) -> None:
    step = scene.step(mx.float32)
    wanted, pools = Reference().attend(step)
    mx.eval(wanted, pools.keys, pools.values)
    mixed, written = kernels.attend(step)
    mx.eval(mixed)
    assert mx.allclose(mixed[: len(scene.rows)], wanted[: len(scene.rows)], atol=2e-6)
    for got, expected in ((written.keys, pools.keys), (written.values, pools.values)):
        assert mx.array_equal(got[:, 1:], expected[:, 1:])


@st.composite
def prompts(draw: st.DrawFn) -> tuple[list[int], list[int], dict[str, Any]]:
    """Where rows begin and how many tokens they have, and the shape of a layer."""
    counts = draw(st.lists(st.integers(1, 70), min_size=1, max_size=4))
    starts = [draw(st.integers(0, 80)) for _ in counts]
    heads, repeats = draw(st.sampled_from([(1, 1), (2, 3), (1, 8), (2, 20)]))
    limit = draw(st.sampled_from([None, None, 1, 5, 40]))
    return (
        starts,
        counts,
        {"heads": heads, "repeats": repeats, "dims": draw(st.sampled_from(DIMS)), "limit": limit, "sinks": draw(st.booleans())},
    )


@examples
@given(prompt=prompts(), size=st.sampled_from([4, 16, 32]), seed=st.integers(0, 1000))
def test_a_chunk_has_the_bits_of_its_tokens_one_by_one(
    kernels: CpuKernels, prompt: tuple[list[int], list[int], dict[str, Any]], size: int, seed: int
) -> None:
    """And the values of MLX's own attention; what is behind a row's count is nothing."""
    starts, counts, layer = prompt
    source = np.random.default_rng(seed)
    blocks = [-(-(start + count) // size) for start, count in zip(starts, counts, strict=True)]
    ends: list[int] = np.cumsum([1, *blocks]).tolist()
    table = mx.array(padded([list(range(a, b)) for a, b in pairwise(ends)], len(counts), max(blocks)))
    pools = Pools(*(normal(source, layer["heads"], ends[-1], size, dim) for dim in layer["dims"]))
    queries = normal(source, len(counts), layer["heads"] * layer["repeats"], max(counts), layer["dims"][0])
    sinks = normal(source, queries.shape[1]) if layer["sinks"] else None

    def attend(rows: list[int], first: list[int], tokens: list[int]) -> mx.array:
        place = Place(
            table=table[mx.array(rows)],
            starts=mx.array([starts[row] + begin for row, begin in zip(rows, first, strict=True)], dtype=mx.int32),
            counts=mx.array(tokens, dtype=mx.int32),
            window=None,
            page_tokens=size,
        )
        picked = mx.concatenate([queries[row : row + 1, :, begin : begin + max(tokens)] for row, begin in zip(rows, first, strict=True)])
        step = DecodeStep(queries=picked, new=None, pools=pools, place=place, scale=0.3, limit=layer["limit"], sinks=sinks)
        return kernels.attend(step)[0]

    together = attend(list(range(len(counts))), [0] * len(counts), counts)
    place = Place(table=table, starts=mx.array(starts), counts=None, window=None, page_tokens=size)
    own = Reference().gather(pools, place, 0, max(blocks) * size)
    mask = place.visible(max(counts), layer["limit"])[:, None]
    wanted = mx.fast.scaled_dot_product_attention(queries, *own, scale=0.3, mask=mask, sinks=sinks)
    for row, count in enumerate(counts):
        assert mx.allclose(together[row, :, :count], wanted[row, :, :count], atol=3e-5)
        assert not mx.any(together[row, :, count:])
        parts = [attend([row], [first], [min(9, count - first)])[0, :, : min(9, count - first)] for first in range(0, count, 9)]
        assert mx.array_equal(mx.concatenate(parts, axis=1), together[row, :, :count])
        for token in (0, count // 2, count - 1):
            assert mx.array_equal(attend([row], [token], [1])[0, :, 0], together[row, :, token])


def test_a_row_has_the_same_bits_alone_in_a_batch_and_when_it_is_resumed() -> None:
    """Passes of up to 16 tokens, padding included, which are multiplied by packed weights on every processor: one prompt at a time."""
    options: dict[str, Any] = {"step_token_budget": 16, "page_tokens": 32, "kv_cache_bytes": 2**27}
    rows = [make_prompt(str(i), range(40 + 7 * i, 60 + 20 * i), max_tokens=40, temperature=1.0, seed=i, logprobs=3) for i in range(5)]
    together = drive(make_engine("pomona-tiny", **options), {15 * index: [row] for index, row in enumerate(rows)})
    resumed = [replace(row, answered_ids=tuple(together[row.id].tokens[:25])) for row in rows]
    after = drive(make_engine("pomona-tiny", **options), {15 * index: [row] for index, row in enumerate(resumed)})
    for row in rows[:2]:
        assert drive(make_engine("pomona-tiny", **options), {0: [row]})[row.id].logprobs == together[row.id].logprobs
    for row in rows:
        assert len(after[row.id].logprobs) == 15
        assert after[row.id].logprobs == together[row.id].logprobs[25:]


def test_calls_keep_their_order_among_other_operations(kernels: CpuKernels) -> None:
    """Thousands of them in one graph that nobody waits for: each reads what those before have written, and no more."""
    pools = Pools(mx.zeros((2, 4, 8, 16)), mx.zeros((2, 4, 8, 16)))
    mx.eval(pools.keys, pools.values)
    seen: list[mx.array] = []
    for value in range(1500):
        place = Place(table=mx.array([[1]]).astype(mx.uint32), starts=mx.array([0]), counts=None, window=None, page_tokens=8)
        mx.eval(place.table, place.starts)
        new = mx.full((1, 2, 1, 16), float(value)) * 1.0
        mixed, pools = kernels.attend(DecodeStep(queries=new, new=(new, new), pools=pools, place=place, scale=1.0))
        seen.append(mixed + 0)
        if value % 100 == 0:
            mx.async_eval(seen[-1])
    assert numpy(mx.stack(seen))[:, 0, 0, 0, 0].tolist() == [float(value) for value in range(1500)]


def test_only_some_pools_are_taken(kernels: CpuKernels) -> None:
    def pools(dim: int, dtype: mx.Dtype = mx.float32, page_tokens: int = 32) -> Pools:
        return Pools(mx.zeros((1, 1, page_tokens, dim), dtype=dtype), mx.zeros((1, 1, page_tokens, dim), dtype=dtype))

    assert kernels.takes(pools(64))
    assert not kernels.takes(pools(12))
    assert not kernels.takes(pools(520))
    assert not kernels.takes(pools(64, mx.bfloat16))
    assert not kernels.takes(pools(64, page_tokens=512))


def normal(source: np.random.Generator, *shape: int) -> mx.array:
    return mx.array(source.standard_normal(shape).astype(np.float32))
