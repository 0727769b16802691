"""Rotary positions for CPUs, from tables that all layers of a forward pass share.

MLX's CPU `rope` is composed of some fifteen operations, with a power, a sine and a cosine, in every layer: 200 us for one token
of a model whose layer takes 700 us in all (AMD EPYC, two cores). The angles are the same in every layer; with them at hand,
rotating takes four operations, 35 us.
"""

from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_unflatten
from mlx_lm.models.rope_utils import Llama3RoPE, YarnRoPE


class Angles:
    """Cosines and sines of one kind of rotary embedding. Remembers those of the last positions asked for."""

    def __init__(self, inverse_frequencies: np.ndarray[Any, np.dtype[np.float64]], *, interleaved: bool, magnitude: float) -> None:
        self._inverse = mx.array(inverse_frequencies.astype(np.float32))
        self._interleaved = interleaved
        self._magnitude = magnitude
        self._key: tuple[int | mx.array, int, int] | None = None
        self._tables: tuple[mx.array, mx.array] | None = None
        self._swaps: dict[int, mx.array] = {}

    def tables(self, offset: int | mx.array, tokens: int, width: int) -> tuple[mx.array, mx.array]:
        """(cos, sin), each (tokens, width), or (rows, 1, tokens, width) if `offset` is (rows,). Beyond the rotated part: 1 and 0."""
        key = (offset, tokens, width)
        if self._tables is None or self._key is None or not _same(self._key, key):
            self._key, self._tables = key, self._compute(*key)
        return self._tables

    def swap(self, width: int) -> mx.array:
        """(width, width): `x @ swap` puts at each place its partner in the rotation, with the sign it takes there."""
        if width not in self._swaps:
            half = self._inverse.shape[0]
            pairs = [(2 * i, 2 * i + 1) if self._interleaved else (i, i + half) for i in range(half)]
            matrix = np.zeros((width, width), np.float32)
            for first, second in pairs:
                matrix[second, first], matrix[first, second] = -1, 1
            self._swaps[width] = mx.array(matrix)
        return self._swaps[width]

    def _compute(self, offset: int | mx.array, tokens: int, width: int) -> tuple[mx.array, mx.array]:
        if isinstance(offset, mx.array):
            positions = offset.reshape(-1, 1, 1, 1) + mx.arange(tokens)[:, None]
        else:
            positions = mx.arange(offset, offset + tokens)[:, None]
        angles = positions.astype(mx.float32) * self._inverse
        angles = mx.repeat(angles, 2, axis=-1) if self._interleaved else mx.concatenate([angles, angles], axis=-1)
        rest = [(0, 0)] * (angles.ndim - 1) + [(0, width - angles.shape[-1])]
        return mx.pad(mx.cos(angles) * self._magnitude, rest, constant_values=1), mx.pad(mx.sin(angles) * self._magnitude, rest)


class TableRoPE(nn.Module):
    """In the place of a layer's rotary embedding: same call, same result."""

    def __init__(self, angles: Angles) -> None:
        super().__init__()
        self._angles = angles

    def __call__(self, x: mx.array, offset: int | mx.array = 0) -> mx.array:
        """Rotate (rows, heads, tokens, width) by its positions, which start at `offset`."""
        cosines, sines = self._angles.tables(offset, x.shape[-2], x.shape[-1])
        return x * cosines.astype(x.dtype) + (x @ self._angles.swap(x.shape[-1]).astype(x.dtype)) * sines.astype(x.dtype)


def share_rotary_tables(module: nn.Module) -> None:
    """Replace the rotary embeddings of a model that runs on the CPU, in place. Kinds that are not known here stay as they are."""
    shared: dict[object, Angles] = {}
    for name, layer in cast("list[tuple[str, nn.Module]]", module.named_modules()):
        described = describe_rotary(layer)
        if described is not None:
            inverse, interleaved, magnitude = described
            key = (inverse.tobytes(), interleaved, magnitude)
            angles = shared.setdefault(key, Angles(inverse, interleaved=interleaved, magnitude=magnitude))
            module.update_modules(cast("dict[str, Any]", tree_unflatten([(name, TableRoPE(angles))])))


def describe_rotary(layer: Any) -> tuple[np.ndarray[Any, np.dtype[np.float64]], bool, float] | None:
    """(inverse frequencies, interleaved, magnitude) of a rotary embedding, None for every other layer."""
    if type(layer) is nn.RoPE:
        exponents = np.arange(0, layer.dims, 2, dtype=np.float64) / layer.dims
        return layer.scale * float(layer.base) ** -exponents, bool(layer.traditional), 1.0
    if type(layer) in (Llama3RoPE, YarnRoPE):
        frequencies = np.array(layer["_freqs"].astype(mx.float32)).astype(np.float64)
        return 1 / frequencies, bool(layer.traditional), float(getattr(layer, "mscale", 1.0))
    return None


def _same(one: tuple[int | mx.array, int, int], other: tuple[int | mx.array, int, int]) -> bool:
    """Equal numbers, or the very same array of offsets."""
    if one[1:] != other[1:]:
        return False
    first, second = one[0], other[0]
    return first is second or (isinstance(first, int) and isinstance(second, int) and first == second)
