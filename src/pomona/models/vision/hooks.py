"""What a language part of mlx-lm must be taught for pictures beside embeddings: three-axis positions, features between its layers.

Both are told what to do by the object that is put in here, for the pass that is being built; with nothing to do the language part
computes what it always did, bit for bit.
"""

from collections.abc import Iterator
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from pomona.models.cpu.rotary import describe_rotary


class AxisPositions:
    """Which position each part of a rotary embedding turns by: Qwen-VL's pictures have one in time, one down and one across."""

    def __init__(self, axes: np.ndarray) -> None:
        """`axes`: for each frequency 0, 1 or 2."""
        self._axes = mx.array(axes)
        self._positions: mx.array | None = None
        self._tables: dict[tuple[bytes, float], tuple[mx.array, mx.array]] = {}

    def begin(self, positions: mx.array) -> None:
        """Of the pass: (rows, 3, tokens)."""
        self._positions = positions

    def end(self) -> None:
        """The pass is built."""
        self._positions = None
        self._tables.clear()

    @property
    def active(self) -> bool:
        """Tokens of this pass are not where their number says."""
        return self._positions is not None

    def tables(self, inverse: np.ndarray, magnitude: float) -> tuple[mx.array, mx.array]:
        """(cos, sin), each (rows, 1, tokens, frequencies); the same for all layers of a pass."""
        key = (inverse.tobytes(), magnitude)
        if key not in self._tables and self._positions is not None:
            chosen = mx.take(self._positions, self._axes, axis=1).swapaxes(1, 2).astype(mx.float32)  # (rows, tokens, frequencies)
            angles = (chosen * mx.array(inverse.astype(np.float32)))[:, None]
            self._tables[key] = mx.cos(angles) * magnitude, mx.sin(angles) * magnitude
        return self._tables[key]


class AxisRoPE(nn.Module):
    """In the place of a layer's rotary embedding."""

    def __init__(self, plain: nn.Module, positions: AxisPositions, described: tuple[np.ndarray, float]) -> None:
        super().__init__()
        self.plain = plain
        self._positions = positions
        self._inverse, self._magnitude = described

    def __call__(self, x: mx.array, offset: int | mx.array = 0) -> mx.array:
        """Turn (rows, heads, tokens, dim) by the positions of the pass, or as always."""
        if not self._positions.active:
            return cast("Any", self.plain)(x, offset=offset)
        cosines, sines = self._positions.tables(self._inverse, self._magnitude)
        first, second = mx.split(x.astype(mx.float32), 2, axis=-1)
        return mx.concatenate([first * cosines - second * sines, second * cosines + first * sines], axis=-1).astype(x.dtype)


class LayerAdditions:
    """What is added behind each of the first layers in the pass that is being built: (rows, tokens, width) each."""

    def __init__(self) -> None:
        self.arrays: tuple[mx.array, ...] = ()


def teach_positions(layers: list[nn.Module], sections: list[int], *, interleaved: bool) -> AxisPositions:
    """Replace the rotary embeddings of `layers`. `sections`: how many frequencies turn by each axis. Raises ValueError."""
    positions = AxisPositions(_axes(sections, interleaved=interleaved))
    for layer in layers:
        attention = cast("Any", layer).self_attn
        described = describe_rotary(attention.rope)
        if described is None or described[1] or len(described[0]) != sum(sections):
            raise ValueError(f"its rotary embedding cannot be divided into sections {sections!r}")
        attention.rope = AxisRoPE(attention.rope, positions, (described[0], described[2]))
    return positions


def teach_additions(layers: list[nn.Module], count: int) -> LayerAdditions:
    """Make the first `count` of `layers` add what `LayerAdditions` holds to their output."""
    additions = LayerAdditions()
    for index, layer in enumerate(layers[:count]):
        layer.__class__ = _adding(type(layer), additions, index)  # a wrapper would change the names of the weights
    return additions


def _adding(plain: type[nn.Module], additions: LayerAdditions, index: int) -> type[nn.Module]:
    def call(self: nn.Module, *args: Any, **kwargs: Any) -> mx.array:
        result = cast("mx.array", cast("Any", plain).__call__(self, *args, **kwargs))
        return result + additions.arrays[index] if additions.arrays else result

    return type(plain.__name__, (plain,), {"__call__": call})


def _axes(sections: list[int], *, interleaved: bool) -> np.ndarray:
    """Sections one behind the other, or time, down, across by turns as long as the latter two last."""
    if not interleaved:
        return np.repeat(np.arange(len(sections)), sections)
    axes = np.zeros(sum(sections), np.int64)
    for axis, places in _interleaved_places(sections):
        axes[places] = axis
    return axes


def _interleaved_places(sections: list[int]) -> Iterator[tuple[int, slice]]:
    for axis in (1, 2):
        yield axis, slice(axis, 3 * sections[axis], 3)
