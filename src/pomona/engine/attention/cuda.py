"""The operations of `paged.py` on CUDA, by kernels of our own; `sources/*.cu` has them. MLX compiles one for each kind of layer.

They write into inputs, which MLX hands over as constant. A pool is contiguous, as all of its makers leave it, so MLX passes no copy.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, cast

import mlx.core as mx

from pomona.engine.attention.paged import DecodeStep, Pools
from pomona.engine.attention.views import Place

THREADS = 128
HEADS_PER_BLOCK = 16
PROCESSORS = 132
"""Of an H200. Each has room for two blocks of 128 threads, or one of 256."""
LONG_PIECE = 2048
"""Tokens that one block takes of a row at most, or a long row among short ones would be waited for."""
SHORT_PIECE = 256
MOST_PIECES = 64
LONGEST = 256
"""Widest head."""

_DECODE_INPUTS = ("queries", "new_keys", "new_values", "key_pool", "value_pool", "table", "starts", "ways", "sinks", "earlier")
_DECODE = """decode<T, D, DV, PT, G, TOKENS, LIMIT, WINDOW, SINKS, WARPS>(queries, new_keys, new_values, key_pool, value_pool, table,
    starts, ways, sinks, mixed, partial, stats, key_pool_shape[1], table_shape[1]);"""
_COMBINE = "combine<T, DV, PT, LIMIT, WINDOW>(partial, stats, starts, ways, partial_shape[2], partial_shape[1], mixed);"
_WRITE = """write<T, D, DV, PT, WINDOW>(tokens, tokens_strides.data(), others, others_strides.data(), key_pool, value_pool, table, starts,
    counts, done, key_pool_shape[1], table_shape[1]);"""
_GATHER = """gather<T, D, DV, PT>(key_pool, value_pool, table, tokens, others, span[0], span[1], key_pool_shape[1], table_shape[1]);"""


class CudaKernels:
    """See `Kernels`. Float32 goes without tensor cores and is slower: it is there for tests."""

    in_place = True
    traceable = True
    takes_chunks = False
    heads_at_once = HEADS_PER_BLOCK

    def __init__(self) -> None:
        self._prepared: set[tuple[object, ...]] = set()

    def takes(self, pools: Pools) -> bool:
        """Heads of a multiple of 16 up to 256, pages of a multiple of 16 tokens, keys and values of one type."""
        dims, page_tokens = (pools.keys.shape[3], pools.values.shape[3]), pools.keys.shape[2]
        fits = all(dim % 16 == 0 and dim <= LONGEST for dim in dims) and page_tokens % 16 == 0
        return fits and pools.keys.dtype == pools.values.dtype and pools.keys.dtype in {mx.float32, mx.float16, mx.bfloat16}

    def attend(self, step: DecodeStep) -> tuple[mx.array, Pools]:
        """See `Kernels`."""
        pools, rows, query_heads = step.pools, step.queries.shape[0], step.queries.shape[1]
        heads = pools.keys.shape[0]
        blocks = rows * heads * -(-query_heads // heads // HEADS_PER_BLOCK)
        pieces = cut(blocks, step.place.table.shape[1] * step.place.page_tokens)
        self._prepare(step)
        mixed = _decode(step, pieces, 8 if blocks * pieces <= PROCESSORS else 4)
        return mixed, Pools(pools.keys, pools.values, mixed)

    def _prepare(self, step: DecodeStep) -> None:
        """Compile all that such layers can need with the first of them, so that no row waits seconds for it later."""
        pools, place, queries = step.pools, step.place, step.queries
        repeats, (dim, out_dim) = queries.shape[1] // pools.keys.shape[0], (pools.keys.shape[3], pools.values.shape[3])
        key = (queries.dtype, dim, out_dim, place.page_tokens, repeats, step.tokens, step.limit, place.window, step.sinks is None)
        if key in self._prepared:
            return
        self._prepared.add(key)
        empty = [mx.zeros((1, 1, place.page_tokens, each), dtype=queries.dtype) for each in (dim, out_dim)]
        nothing = DecodeStep(
            queries=mx.zeros((1, repeats, 1, dim), dtype=queries.dtype),
            new=None,
            pools=Pools(empty[0], empty[1]),
            place=replace(place, table=mx.zeros((1, 1), dtype=mx.uint32), starts=mx.zeros((1,), dtype=mx.int32)),
            scale=step.scale,
            limit=step.limit,
            tokens=step.tokens,
            sinks=None if step.sinks is None else mx.zeros((repeats,), dtype=queries.dtype),
        )
        mx.eval([_decode(nothing, pieces, warps) for pieces, warps in ((1, 4), (2, 8))])

    def write(self, pools: Pools, keys: mx.array, values: mx.array, place: Place) -> Pools:
        """See `Kernels`. Padding goes nowhere."""
        rows, heads, tokens, _ = keys.shape
        counts = mx.ones_like(place.starts) if place.counts is None else place.counts
        inputs = ("tokens", "others", "key_pool", "value_pool", "table", "starts", "counts", "earlier")
        [done] = _kernel("write", "pages", _WRITE, inputs, ("done",), contiguous=False)(
            inputs=[keys, values, pools.keys, pools.values, place.table, place.starts, counts, _or_none(pools.after)],
            template=[*_kind(pools).items(), ("WINDOW", place.window or 0)],
            grid=(THREADS * tokens, heads, rows),
            threadgroup=(THREADS, 1, 1),
            output_shapes=[(1,)],
            output_dtypes=[mx.int32],
        )
        return Pools(pools.keys, pools.values, done)

    def gather(self, pools: Pools, place: Place, first: int, tokens: int) -> tuple[mx.array, mx.array]:
        """See `Kernels`."""
        heads, dims, rows = pools.keys.shape[0], (pools.keys.shape[3], pools.values.shape[3]), place.table.shape[0]
        chunks = max(dims) * pools.keys.dtype.size // 16
        inputs = ("key_pool", "value_pool", "table", "span", "earlier")
        keys, values = _kernel("gather", "pages", _GATHER, inputs, ("tokens", "others"))(
            inputs=[pools.keys, pools.values, place.table, _span(first, tokens), _or_none(pools.after)],
            template=[*_kind(pools).items()],
            grid=(-(-tokens * chunks // THREADS) * THREADS, heads, rows),
            threadgroup=(THREADS, 1, 1),
            output_shapes=[(rows, heads, tokens, dim) for dim in dims],
            output_dtypes=[pools.keys.dtype] * 2,
        )
        return keys, values


def _decode(step: DecodeStep, pieces: int, warps: int) -> mx.array:
    pools, place, queries = step.pools, step.place, step.queries
    rows, query_heads, _, dim = queries.shape
    heads, out_dim = pools.keys.shape[0], pools.values.shape[3]
    ways = _ways(step.scale, step.new is not None)
    new = step.new or (queries, queries)  # not read
    sinks = queries if step.sinks is None else step.sinks.astype(queries.dtype)
    kind = {"T": queries.dtype, "DV": out_dim, "PT": place.page_tokens, "LIMIT": step.limit or 0, "WINDOW": place.window or 0}
    own = {"D": dim, "G": query_heads // heads, "TOKENS": step.tokens, "SINKS": step.sinks is not None, "WARPS": warps}
    parts = -(-query_heads // heads // HEADS_PER_BLOCK)
    shape = (rows, query_heads, 1, out_dim)
    mixed, partial, stats = _kernel("decode", "decode", _DECODE, _DECODE_INPUTS, ("mixed", "partial", "stats"))(
        inputs=[queries, *new, pools.keys, pools.values, place.table, place.starts, ways, sinks, _or_none(pools.after)],
        template=[*kind.items(), *own.items()],
        grid=(32 * warps * heads * parts, rows, pieces),
        threadgroup=(32 * warps, 1, 1),
        output_shapes=[shape, *_spare(rows, query_heads, pieces, out_dim)],
        output_dtypes=[queries.dtype, mx.float32, mx.float32],
    )
    if pieces > 1:
        [mixed] = _kernel("combine", "decode", _COMBINE, ("partial", "stats", "starts", "ways"), ("mixed",))(
            inputs=[partial, stats, place.starts, ways],
            template=[*kind.items()],
            grid=(THREADS, rows * query_heads, 1),
            threadgroup=(THREADS, 1, 1),
            output_shapes=[shape],
            output_dtypes=[queries.dtype],
        )
    return cast("mx.array", mixed)


def cut(blocks: int, keys: int) -> int:
    """Into how many pieces the keys of a row are cut at most, for rows * heads and a table of that width.

    Shapes decide alone, so that a compiled pass fits all rows that fit its table. A kernel cuts each row by its own length.
    """
    for_all = 2 * PROCESSORS // blocks
    for_long = (keys + LONG_PIECE // 2) // LONG_PIECE
    return max(1, min(max(for_all, for_long), keys // SHORT_PIECE, MOST_PIECES))


@cache
def _kernel(
    name: str, source: str, body: str, inputs: tuple[str, ...], outputs: tuple[str, ...], *, contiguous: bool = True
) -> Callable[..., Any]:
    header = files("pomona.engine.attention").joinpath("sources", f"{source}.cu").read_text()
    return cast(
        "Callable[..., Any]",
        mx.fast.cuda_kernel(
            name=f"pomona_{name}",
            input_names=list(inputs),
            output_names=list(outputs),
            source=body,
            header=header,
            ensure_row_contiguous=contiguous,
        ),
    )


@cache
def _ways(scale: float, fresh: bool) -> mx.array:
    """As `decode.cu` asks for it; scores are in units of log2."""
    ways = mx.array([scale * 1.4426950408889634, SHORT_PIECE, fresh], dtype=mx.float32)
    mx.eval(ways)
    return ways


@lru_cache(maxsize=64)
def _span(first: int, tokens: int) -> mx.array:
    return mx.array([first, tokens], dtype=mx.int32)


@cache
def _nothing() -> mx.array:
    nothing = mx.array([0], dtype=mx.int32)
    mx.eval(nothing)
    return nothing


def _or_none(after: mx.array | None) -> mx.array:
    return _nothing() if after is None else after


def _kind(pools: Pools) -> dict[str, object]:
    return {"T": pools.keys.dtype, "D": pools.keys.shape[3], "DV": pools.values.shape[3], "PT": pools.keys.shape[2]}


def _spare(rows: int, query_heads: int, pieces: int, dim: int) -> list[tuple[int, ...]]:
    """For the pieces of rows; hardly anything where rows are whole."""
    return [(rows, query_heads, pieces, dim), (rows, query_heads, pieces, 2)] if pieces > 1 else [(1,), (1,)]
