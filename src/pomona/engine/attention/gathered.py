"""Attention over pages by `gather_mm`, which multiplies matrices picked out of the pools. Milliseconds, pages of 32:

| decode step                                      | dense, masked | gather, masked | gather_mm |
|--------------------------------------------------|---------------|----------------|-----------|
| 2 CPU cores, 10 layers, float32, B=8, context 256    | 2.9       | 17.8           | 3.2       |
| same, B=32, context 1024                             | 44        | 439            | 64        |
| H200, 4 layers of 8B shape, bfloat16, B=128, 256     | 1.8       | 5.8            | 0.95      |
| same, B=32, context 2048                             | 2.9       | 9.9            | 1.6       |
| same, B=8, context 16384                             | 4.8       | 18.6           | 2.1       |

"Dense" is a cache with a copy of every shared prefix. On GPUs only decoding goes this way: MLX compiles further kernels (25 s
at first use on CUDA) for more than a few query lines.
"""

import mlx.core as mx

from pomona.engine.attention.views import Mask, View


def suits(view: View, mask: Mask, dtypes: set[mx.Dtype]) -> bool:
    """The rows are ragged, and there are products for their types: MLX's `gather_mm` takes float32 alone on CPUs; see above for GPUs."""
    if view.dense or not (isinstance(mask, mx.array) and mask.dtype == mx.bool_ and mask.shape[1] == 1):
        return False
    return dtypes == {mx.float32} if mx.default_device() == mx.cpu else view.width == 1


def attend_gathered(  # noqa: PLR0913, PLR0917 - what attention is made of
    queries: mx.array, keys: mx.array, values: mx.array, view: View, scale: float, mask: Mask, sinks: mx.array | None
) -> mx.array:
    """(rows, query_heads, tokens, dim) and pools (heads, pages, page_tokens, dim) -> as the queries, with the values' dim."""
    rows, query_heads, tokens, dim = queries.shape
    heads, page_tokens = keys.shape[0], keys.shape[2]
    repeats, blocks = query_heads // heads, view.blocks
    page_index, query_index, weight_index = _indices(view, heads, keys.shape[1])
    lone = (queries * scale).reshape(rows * heads, repeats * tokens, dim)
    flat_keys = keys.reshape(-1, page_tokens, dim).swapaxes(1, 2)
    scores = mx.gather_mm(lone, flat_keys, lhs_indices=query_index, rhs_indices=page_index)  # (rows, heads, blocks, repeats*tokens, page)
    scores = scores.transpose(0, 1, 3, 2, 4).reshape(rows, heads, repeats, tokens, blocks * page_tokens)
    if isinstance(mask, mx.array):
        scores = mx.where(mask[:, :, None], scores, mx.finfo(scores.dtype).min)
    weights = _softmax(scores, sinks).reshape(rows, heads, repeats * tokens, blocks, page_tokens)
    weights = weights.transpose(0, 1, 3, 2, 4).reshape(-1, repeats * tokens, page_tokens)
    flat_values = values.reshape(-1, page_tokens, values.shape[-1])
    mixed = mx.gather_mm(weights, flat_values, lhs_indices=weight_index, rhs_indices=page_index)
    return mixed.sum(axis=2).reshape(rows, query_heads, tokens, values.shape[-1])


def _indices(view: View, heads: int, pages: int) -> tuple[mx.array, mx.array, mx.array]:
    """(rows, heads, blocks) each: which matrix of the key pool, of the queries and of the weights; shared by all layers."""
    key = ("indices", heads, pages)
    rows, blocks = view.table.shape
    if key not in view.memo:
        head_starts = (mx.arange(heads, dtype=mx.uint32) * pages)[None, :, None]
        view.memo[key] = view.table[:, None] + head_starts
        view.memo[(*key, "queries")] = mx.broadcast_to(
            mx.arange(rows * heads, dtype=mx.uint32).reshape(rows, heads, 1), (rows, heads, blocks)
        )
        view.memo[(*key, "weights")] = mx.arange(rows * heads * blocks, dtype=mx.uint32).reshape(rows, heads, blocks)
    return view.memo[key], view.memo[(*key, "queries")], view.memo[(*key, "weights")]


def _softmax(scores: mx.array, sinks: mx.array | None) -> mx.array:
    """Over the keys; a sink is one more logit per query head that takes weight and gives nothing (gpt-oss)."""
    if sinks is None:
        return mx.softmax(scores, axis=-1, precise=True)
    rows, heads, repeats, tokens, _ = scores.shape
    column = mx.broadcast_to(sinks.astype(scores.dtype).reshape(1, heads, repeats, 1, 1), (rows, heads, repeats, tokens, 1))
    return mx.softmax(mx.concatenate([column, scores], axis=-1), axis=-1, precise=True)[..., 1:]
