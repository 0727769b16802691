"""Attention of one decode step, alone: kernels over pages against `gather_mm` over pages and MLX's own over dense keys of equal length.

    python -m benchmarks.gpu.attention [ROWSxCONTEXT ...]

Prints milliseconds of one layer, and what the kernel reads per second. Pages lie in random order; layers follow one another, so that
nothing overlaps. The last lines start passes one behind the other, waiting for none: time and memory say that no pool was copied.
"""

import sys
import time
from collections.abc import Callable
from statistics import median
from types import SimpleNamespace
from typing import Any, cast

import mlx.core as mx

from pomona.engine.attention.choice import choose
from pomona.engine.attention.gathered import attend_gathered
from pomona.engine.attention.paged import Choosy, DecodeStep, Pools
from pomona.engine.attention.views import DecodeView

CASES = ("1x256", "8x256", "32x256", "128x256", "32x2048", "8x16384", "32x16384", "1x16384")
HEADS = {"8b": (32, 8, 128), "0.6b": (16, 8, 128), "gpt-oss": (64, 8, 64)}
PAGE = 32
SECONDS = 0.25
MOST_BYTES = 12 * 2**30


def main(names: list[str]) -> None:
    """Run the cases."""
    kernels = choose("on")
    assert kernels is not None
    for shape, names_here in (("8b", names or list(CASES)), ("0.6b", ["1x256", "32x256"]), ("gpt-oss", ["32x2048"])):
        print(f"# {shape}: ms per layer  kernels  TB/s  gather_mm  dense")
        for name in names_here:
            rows, context = map(int, name.split("x"))
            print(f"{name:>9}", *_measure(kernels, *HEADS[shape], rows, context), flush=True)
    _in_a_row(kernels)


def _measure(kernels: Choosy, query_heads: int, heads: int, dim: int, rows: int, context: int) -> list[str]:
    scene = _scene(query_heads, heads, dim, rows, context)
    mine, its_bytes = _time(lambda q: _by_kernels(kernels, scene, q), scene), 4 * heads * dim * rows * context
    results = [f"{mine:8.4f}", f"{its_bytes / mine / 1e9:5.2f}"]
    for way in (_by_products, _dense):
        try:
            results.append(f"{_time(lambda q, way=way: way(scene, q), scene):8.4f}")
        except RuntimeError as error:
            results.append(f"({str(error)[:40]})")
        mx.clear_cache()
    return results


def _scene(query_heads: int, heads: int, dim: int, rows: int, context: int) -> Any:
    blocks = context // PAGE + 1
    pages = rows * blocks + 1
    pool_bytes = 2 * heads * pages * PAGE * dim
    layers = max(1, min(16, MOST_BYTES // (4 * pool_bytes)))
    table = (mx.random.permutation(pages - 1)[: rows * blocks] + 1).reshape(rows, blocks).astype(mx.uint32)
    starts = mx.full((rows,), context, dtype=mx.int32)

    def normal(*shape: int) -> mx.array:
        return (mx.random.normal(shape, dtype=mx.bfloat16) * 0.5).astype(mx.bfloat16)

    scene = SimpleNamespace(
        layers=layers,
        pools=[Pools(normal(heads, pages, PAGE, dim), normal(heads, pages, PAGE, dim)) for _ in range(layers)],
        dense=[(normal(rows, heads, context, dim), normal(rows, heads, context, dim)) for _ in range(layers)],
        view=DecodeView(window=None, page_tokens=PAGE, table=table, starts=starts),
        queries=normal(rows, query_heads, 1, dim),
        new=(normal(rows, heads, 1, dim), normal(rows, heads, 1, dim)),
        scale=dim**-0.5,
    )
    mx.eval(table, starts, scene.queries, scene.new, scene.dense, [pool[:2] for pool in scene.pools])
    return scene


def _by_kernels(kernels: Choosy, scene: Any, queries: mx.array) -> mx.array:
    for pools in scene.pools:
        step = DecodeStep(queries=queries, new=scene.new, pools=pools, place=scene.view.place, scale=scene.scale)
        queries = kernels.attend(step)[0]
    return queries


def _by_products(scene: Any, queries: mx.array) -> mx.array:
    mask = scene.view.mask(None, True)
    for pools in scene.pools:
        queries = attend_gathered(queries, pools.keys, pools.values, scene.view, scene.scale, mask, None)
    return queries


def _dense(scene: Any, queries: mx.array) -> mx.array:
    for keys, values in scene.dense:
        queries = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scene.scale)
    return queries


def _time(build: Callable[[mx.array], mx.array], scene: Any) -> float:
    """Milliseconds per layer."""
    compiled = mx.compile(build)
    for _ in range(3):
        mx.eval(compiled(scene.queries))
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(times) < 3:
        begin = time.perf_counter()
        queries = scene.queries
        for _ in range(4):  # one behind the other, or they would share what they read
            queries = compiled(queries)
        mx.eval(queries)
        times.append((time.perf_counter() - begin) / 4)
    return median(times) * 1e3 / scene.layers


def _in_a_row(kernels: Choosy) -> None:
    scene = _scene(32, 8, 128, 32, 2048)
    compiled = cast("Callable[[mx.array], mx.array]", mx.compile(lambda q: _by_kernels(kernels, scene, q)))
    for waiting in (True, False):
        queries = scene.queries
        mx.eval(compiled(queries))
        mx.reset_peak_memory()
        before, begin = mx.get_active_memory(), time.perf_counter()
        for _ in range(50):
            queries = compiled(queries)
            mx.async_eval(queries)
            if waiting:
                mx.synchronize()
        mx.synchronize()
        spent, grown = (time.perf_counter() - begin) / 50, mx.get_peak_memory() - before
        how = "waiting" if waiting else "not waiting"
        print(f"# {scene.layers} layers, {how}: {spent * 1e3:.3f} ms a pass, {grown / 2**20:.1f} MiB more")


if __name__ == "__main__":
    main(sys.argv[1:])
