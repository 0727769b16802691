"""The operations of `paged.py` on Metal. Written where there is no Mac, and never run: off unless `engine.kernels` is on.

Attending alone is a kernel here. Writing and gathering stay MLX's own operations, so a pass makes new pools, as the reference does, and
passes wait for one another as they do without kernels.
"""

from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any, cast

import mlx.core as mx

from pomona.engine.attention.paged import DecodeStep, Pools, Reference

SIMDGROUPS = 8
HEADS_PER_GROUP = 8
LONGEST = 256
"""Widest head."""
SHORTEST_PIECE = 64
MOST_PIECES = 32
WANTED = 256
"""Threadgroups that keep the device busy."""
_INPUTS = ("queries", "key_pool", "value_pool", "table", "starts", "factors", "sinks")
_DECODE = """
  threadgroup float tops[64], totals[64], sums[8 * DV];
  decode<T, D, DV, PT, G, LIMIT, WINDOW, SINKS>(queries, key_pool, value_pool, table, starts, factors[0], sinks, mixed, partial, stats,
      tops, totals, sums, key_pool_shape[1], table_shape[1], threadgroup_position_in_grid, threadgroups_per_grid,
      simdgroup_index_in_threadgroup, thread_index_in_simdgroup);"""
_COMBINE = """
  combine<T, DV, PT, LIMIT, WINDOW>(partial, stats, starts, partial_shape[2], partial_shape[1], mixed,
      threadgroup_position_in_grid.y, thread_position_in_threadgroup.x, threads_per_threadgroup.x);"""


class MetalKernels(Reference):
    """See `Kernels`."""

    heads_at_once = 0

    def takes(self, pools: Pools) -> bool:
        """Heads up to 256."""
        return max(pools.keys.shape[3], pools.values.shape[3]) <= LONGEST

    def attend(self, step: DecodeStep) -> tuple[mx.array, Pools]:
        """See `Kernels`."""
        pools = step.pools if step.new is None else self.write(step.pools, *step.new, step.place)
        place, queries = step.place, step.queries
        rows, query_heads, _, dim = queries.shape
        heads, page_tokens, out_dim = pools.keys.shape[0], pools.keys.shape[2], pools.values.shape[3]
        pieces = cut(rows * heads, place.table.shape[1] * page_tokens)
        shape, kind = (rows, query_heads, 1, out_dim), queries.dtype
        shared = {"T": kind, "DV": out_dim, "PT": page_tokens, "LIMIT": step.limit or 0, "WINDOW": place.window or 0}
        spare = [(rows, query_heads, pieces, out_dim), (rows, query_heads, pieces, 2)] if pieces > 1 else [(1,), (1,)]
        mixed, partial, stats = _kernel("decode", _DECODE, _INPUTS, ("mixed", "partial", "stats"))(
            inputs=[queries, pools.keys, pools.values, place.table, place.starts, _factor(step.scale), _sinks(step)],
            template=[*shared.items(), ("D", dim), ("G", query_heads // heads), ("SINKS", step.sinks is not None)],
            grid=(32 * SIMDGROUPS * heads * -(-query_heads // heads // HEADS_PER_GROUP), rows, pieces),
            threadgroup=(32 * SIMDGROUPS, 1, 1),
            output_shapes=[shape, *spare],
            output_dtypes=[kind, mx.float32, mx.float32],
        )
        if pieces > 1:
            [mixed] = _kernel("combine", _COMBINE, ("partial", "stats", "starts"), ("mixed",))(
                inputs=[partial, stats, place.starts],
                template=[*shared.items()],
                grid=(128, rows * query_heads, 1),
                threadgroup=(128, 1, 1),
                output_shapes=[shape],
                output_dtypes=[kind],
            )
        return mixed, pools


def cut(groups: int, keys: int) -> int:
    """Into how many pieces the keys of a row are cut at most, for rows * heads and a table of so many keys."""
    return max(1, min(MOST_PIECES, -(-keys // SHORTEST_PIECE), -(-WANTED // groups)))


def _sinks(step: DecodeStep) -> mx.array:
    return step.queries if step.sinks is None else step.sinks.astype(step.queries.dtype)


@cache
def _factor(scale: float) -> mx.array:
    """Scores in units of log2."""
    return mx.array([scale * 1.4426950408889634], dtype=mx.float32)


@cache
def _kernel(name: str, body: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Callable[..., Any]:
    header = files("pomona.engine.attention").joinpath("sources", "decode.metal").read_text()
    kernel = mx.fast.metal_kernel(name=f"pomona_{name}", input_names=[*inputs], output_names=[*outputs], source=body, header=header)
    return cast("Callable[..., Any]", kernel)
