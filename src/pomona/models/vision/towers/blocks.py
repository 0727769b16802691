"""What several towers are made of."""

import math
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np

SCORE_BYTES = 2**28
"""Attention over a large picture is cut into groups of queries whose scores take about so much memory."""


def through(x: mx.array, *layers: nn.Module) -> mx.array:
    """`x` through `layers`, one after the other."""
    for layer in layers:
        x = cast("mx.array", cast("Any", layer)(x))
    return x


def cut_patches(pixels: mx.array, patch: int, merge: int = 1) -> mx.array:
    """(height, width, channels) -> (patches, channels * patch * patch): by rows, or by squares of `merge` x `merge` patches, by rows."""
    rows, columns, channels = pixels.shape[0] // patch, pixels.shape[1] // patch, pixels.shape[2]
    squares = pixels.reshape(rows // merge, merge, patch, columns // merge, merge, patch, channels)
    return squares.transpose(0, 3, 1, 4, 6, 2, 5).reshape(rows * columns, channels * patch * patch)


def patch_places(rows: int, columns: int, merge: int = 1) -> np.ndarray:
    """(patches, 2): row and column of each patch, in the order of `cut_patches`."""
    places = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1)
    squares = places.reshape(rows // merge, merge, columns // merge, merge, 2)
    return squares.transpose(0, 2, 1, 3, 4).reshape(-1, 2)


def axis_frequencies(dim: int, theta: float, *, shift: int = 0) -> np.ndarray:
    """(dim / 4,): how fast one axis of a two-dimensional rotary embedding turns; `shift` 0 or 1 in steps of half a frequency."""
    return theta ** -((np.arange(0, dim, 4, dtype=np.float32) + 2 * shift) / dim)


def flat_angles(places: np.ndarray, down: np.ndarray, across: np.ndarray) -> tuple[mx.array, mx.array]:
    """(cos, sin), each (patches, dim): the first half of each pair's halves turns by the row, the second by the column."""
    angles = np.concatenate([places[:, :1] * down, places[:, 1:] * across], axis=-1)
    doubled = mx.array(np.concatenate([angles, angles], axis=-1).astype(np.float32))
    return mx.cos(doubled), mx.sin(doubled)


def rotate(x: mx.array, cosines: mx.array, sines: mx.array) -> mx.array:
    """Turn (..., tokens, dim), whose pairs lie half of `dim` apart; in float32, whatever the type of `x`."""
    first, second = mx.split(x.astype(mx.float32), 2, axis=-1)
    return (mx.concatenate([first, second], axis=-1) * cosines + mx.concatenate([-second, first], axis=-1) * sines).astype(x.dtype)


def attend(queries: mx.array, keys: mx.array, values: mx.array, mask: mx.array | None = None) -> mx.array:
    """Attention over all tokens both ways: (rows, heads, tokens, dim) each; `mask` as MLX's."""
    scale = 1 / math.sqrt(queries.shape[-1])
    rows, heads, tokens, _ = queries.shape
    group = max(1, SCORE_BYTES // (4 * rows * heads * keys.shape[2]))
    if tokens <= group:
        return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)
    parts = [
        mx.fast.scaled_dot_product_attention(queries[:, :, start : start + group], keys, values, scale=scale, mask=mask)
        for start in range(0, tokens, group)
    ]
    return mx.concatenate(parts, axis=2)


def split_heads(x: mx.array, heads: int) -> mx.array:
    """(tokens, heads * dim) -> (1, heads, tokens, dim)."""
    return x.reshape(1, x.shape[0], heads, -1).transpose(0, 2, 1, 3)


def join_heads(x: mx.array) -> mx.array:
    """(1, heads, tokens, dim) -> (tokens, heads * dim)."""
    return x.transpose(0, 2, 1, 3).reshape(x.shape[2], -1)


def activation(name: str) -> nn.Module:
    """By transformers' name of it. KeyError for one that no known tower uses."""
    known = {
        "gelu": nn.GELU(),
        "gelu_pytorch_tanh": nn.GELU(approx="precise"),
        "gelu_new": nn.GELU(approx="precise"),
        "quick_gelu": nn.GELU(approx="fast"),
        "silu": nn.SiLU(),
    }
    return known[name]
