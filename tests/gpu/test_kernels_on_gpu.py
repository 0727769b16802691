"""Paged attention by kernels against its plain reference, and the laws on engines that attend that way. Run by
`MLX_ENABLE_TF32=0 scripts/test -m gpu` on a machine that has a GPU.
"""

from dataclasses import replace
from functools import partial

import mlx.core as mx
import numpy as np
import pytest

from pomona.engine.attention.choice import choose
from pomona.engine.attention.paged import Choosy, DecodeStep, Pools, Reference, attend_chunk
from pomona.engine.attention.views import Place, padded
from tests.engine.harness import alone, drive, expect_close, family, make_engine, make_prompt
from tests.engine.scenes import make_scene
from tests.families import VOCABULARY

pytestmark = pytest.mark.gpu

TOLERANCE = {mx.float32: 2e-4, mx.float16: 4e-3, mx.bfloat16: 3e-2}
STEM = [(7 * i + 3) % VOCABULARY for i in range(190)]
SHAPES = {
    "llama": partial(make_scene, heads=8, repeats=4, dims=(128, 128), page_tokens=32),
    "small": partial(make_scene, heads=2, repeats=2, dims=(64, 64), page_tokens=32),
    "crowd": partial(make_scene, heads=1, repeats=24, dims=(128, 128), page_tokens=32),
    "sinks": partial(make_scene, heads=2, repeats=8, dims=(64, 64), page_tokens=32, sinks=True, window=128),
    "odd": partial(make_scene, heads=3, repeats=1, dims=(80, 96), page_tokens=16, window=33),
    "broad": partial(make_scene, heads=2, repeats=2, dims=(256, 256), page_tokens=32),
    "mixed": partial(make_scene, heads=4, repeats=1, dims=(192, 128), page_tokens=64),
    "narrow": partial(make_scene, heads=2, repeats=12, dims=(32, 16), page_tokens=16, sinks=True),
}
STARTS = {
    "ragged": [0, 1, 15, 16, 17, 63, 64, 65, 300, 31, 32],
    "one": [257],
    "long": [4000, 5, 3333],
    "many": [40 + i % 70 for i in range(120)],
}


def kernels() -> Choosy:
    """This machine's."""
    assert mx.default_device().type == mx.DeviceType.gpu, "this suite needs a GPU"
    found = choose("on")
    assert found is not None
    return found


def rounded(step: DecodeStep) -> DecodeStep:
    """In float32, as the kernel's numbers are."""
    assert step.new is not None
    wide = [array.astype(mx.float32) for array in (step.queries, *step.new, step.pools.keys, step.pools.values)]
    sinks = None if step.sinks is None else step.sinks.astype(mx.float32)
    return replace(step, queries=wide[0], new=(wide[1], wide[2]), pools=Pools(wide[3], wide[4]), sinks=sinks)


def expect_same(got: mx.array, wanted: mx.array, dtype: mx.Dtype, rows: int) -> None:
    assert got.dtype == dtype
    apart = mx.abs(got[:rows].astype(mx.float32) - wanted[:rows])
    assert float(apart.max()) <= TOLERANCE[dtype]
    assert not mx.any(mx.isnan(got))


@pytest.mark.parametrize(("heads", "repeats", "dim"), [(8, 4, 128), (8, 2, 128), (4, 1, 64), (2, 8, 64), (2, 3, 64)])
@pytest.mark.parametrize(("starts", "width"), [([0], 256), ([37], 64), ([2000, 5], 32), ([640], 512)])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_a_chunk_of_a_prompt_is_causal_attention(
    dtype: mx.Dtype, heads: int, repeats: int, dim: int, starts: list[int], width: int
) -> None:
    blocks = -(-(max(starts) + width) // 32)
    keys, values = (mx.random.normal((heads, 1 + len(starts) * blocks, 32, dim)).astype(dtype) for _ in range(2))
    table = 1 + mx.arange(len(starts) * blocks, dtype=mx.uint32).reshape(len(starts), blocks)
    place = Place(table=table, starts=mx.array(starts), counts=mx.array([width] * len(starts)), window=None, page_tokens=32)
    queries = mx.random.normal((len(starts), heads * repeats, width, dim)).astype(dtype)
    tokens = 1 << (16 // repeats).bit_length() - 1
    step = DecodeStep(queries=queries, new=None, pools=Pools(keys, values), place=place, scale=dim**-0.5, tokens=tokens)
    mixed, _ = attend_chunk(kernels(), step, {})
    wide = replace(step, queries=queries.astype(mx.float32), pools=Pools(keys.astype(mx.float32), values.astype(mx.float32)))
    wanted, _ = attend_chunk(Reference(), wide, {})
    expect_same(mixed, wanted, dtype, len(starts))


@pytest.mark.parametrize("starts", STARTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_kernels_do_what_the_reference_says(dtype: mx.Dtype, shape: str, starts: str) -> None:
    scene = SHAPES[shape](STARTS[starts], shared=2, padding=2, wider=3)
    step = scene.step(dtype)
    mx.eval(step.pools.keys, step.pools.values)
    wanted, pools = Reference().attend(rounded(step))
    mx.eval(wanted, pools.keys, pools.values)
    mixed, written = kernels().attend(step)
    mx.eval(mixed)
    expect_same(mixed, wanted, dtype, len(scene.starts))
    for got, expected in ((written.keys, pools.keys), (written.values, pools.values)):
        assert mx.array_equal(got[:, 1:].astype(mx.float32), expected[:, 1:])
    again, _ = kernels().attend(replace(step, new=None, pools=written))
    expect_same(again, wanted, dtype, len(scene.starts))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("dims", [(128, 128), (80, 96)])
def test_what_was_written_is_gathered_and_attended_to_in_one_pass(dtype: mx.Dtype, dims: tuple[int, int]) -> None:
    """Nothing but `Pools.after` says that writing comes first. Tokens come transposed, as models have them."""
    counts, starts, size = [70, 1, 33, 64], [0, 31, 64, 5], 32
    blocks = [-(-(start + count) // size) for start, count in zip(starts, counts, strict=True)]
    ends = np.cumsum([1, *blocks]).tolist()
    table = mx.array(padded([list(range(end - count, end)) for end, count in zip(ends[1:], blocks, strict=True)], 4, max(blocks)))
    keys, values = (mx.random.normal((4, 70, 3, dim)).astype(dtype).swapaxes(1, 2) for dim in dims)
    pools = Pools(*(mx.zeros((3, ends[-1], size, dim), dtype=dtype) for dim in dims))
    place = Place(
        table=table, starts=mx.array(starts, dtype=mx.int32), counts=mx.array(counts, dtype=mx.int32), window=None, page_tokens=size
    )
    mx.eval(keys, values, *pools[:2], table)
    for _ in range(20):
        kernel = kernels()
        written = kernel.write(pools, keys, values, place)
        got = kernel.gather(written, place, 0, max(blocks) * size)
        mx.eval(got)
        for row, (start, count) in enumerate(zip(starts, counts, strict=True)):
            assert mx.array_equal(got[0][row, :, start : start + count], keys[row, :, :count])
            assert mx.array_equal(got[1][row, :, start : start + count], values[row, :, :count])
        keys, values = keys + 1, values + 1


LAWS = ["llama/wide", "gemma3/wide", "gpt_oss/wide", "qwen3_next/wide", "deepseek_v2/wide"]


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(mx.float32, 1e-2), (mx.bfloat16, 0.5)], ids=str)
def test_the_laws_hold_with_kernels(name: str, dtype: mx.Dtype, tolerance: float) -> None:
    """batched == alone, cached == uncached, chunked == whole, within rounding; alone is without kernels."""
    model = family(name).module
    model.set_dtype(dtype)
    try:
        rows = [make_prompt(f"{dtype}-kernels-{i}", STEM[: 4 + 31 * i], max_tokens=40, logprobs=2) for i in range(6)]
        engine = make_engine(name, kernels="on", page_tokens=16)
        for _ in range(2):
            results = drive(engine, {0: rows[:2], 3: rows[2:]})
            for prompt in rows:
                expect_close(results[prompt.id], alone(name, prompt, kernels="off"), tolerance)
    finally:
        model.set_dtype(mx.float32)
