"""Between pools on the device and files: arrays of one shape and type lie side by side, so that a page is one piece of memory.

The bits of a value are moved, never the value: bfloat16, which NumPy has not, travels as 16-bit integers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import mlx.core as mx
import numpy as np

from pomona.engine.cache.disk.form import FileForm, Tensor
from pomona.engine.cache.layers import PagedLayer, PagePool
from pomona.engine.states import RowState

NAMES = {mx.float32: "F32", mx.float16: "F16", mx.bfloat16: "BF16", mx.uint32: "U32", mx.int32: "I32", mx.uint8: "U8", mx.uint16: "U16"}
"""Of the types that caches hold, as safetensors call them."""
CARRIERS = {4: (np.uint32, mx.uint32), 2: (np.uint16, mx.uint16), 1: (np.uint8, mx.uint8)}
"""By size of a value."""

Key = tuple[mx.Dtype, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class _Plane:
    """Equal arrays of some pools: (pool, place among its arrays)."""

    dtype: mx.Dtype
    shape: tuple[int, ...]
    """(heads, page_tokens, width) of one page."""
    members: tuple[tuple[int, int], ...]


class PagePlanes:
    """The pages of one group of layers."""

    def __init__(self, layers: Sequence[PagedLayer], version: str) -> None:
        self._pools: list[PagePool] = [pool for layer in layers for pool in (layer.key_pool, layer.value_pool)]
        members: dict[Key, list[tuple[int, int]]] = {}
        for number, pool in enumerate(self._pools):
            for place, array in enumerate(pool.arrays):
                members.setdefault((array.dtype, (array.shape[0], *array.shape[2:])), []).append((number, place))
        ordered = sorted(members.items(), key=lambda item: -item[0][0].size)  # large values first: all stay aligned
        self._planes = [_Plane(dtype, shape, tuple(own)) for (dtype, shape), own in ordered]
        tensors = [Tensor(f"pages.{n}", NAMES[p.dtype], (len(p.members), *p.shape)) for n, p in enumerate(self._planes)]
        self.form = FileForm(tensors, version)

    def take(self, pages: Sequence[int]) -> list[list[memoryview]]:
        """The content of each page, as the parts of a file, in main memory. Nothing may be writing to the pools."""
        read = [pool.read(pages) for pool in self._pools]
        planes = [_carried(mx.stack([read[pool][place] for pool, place in plane.members], axis=1)) for plane in self._planes]
        del read
        mx.eval(planes)
        on_host = [_bytes_of(plane) for plane in planes]
        sizes = [tensor.nbytes for tensor in self.form.tensors]
        return [[data[page * size :][:size] for data, size in zip(on_host, sizes, strict=True)] for page in range(len(pages))]

    def put(self, pages: Sequence[int], data: np.ndarray) -> None:
        """Make `data` (pages, data_bytes) the content of `pages`, as `take` gave it. Nothing may be reading the pools."""
        for plane, part in zip(self._planes, self.form.split(data), strict=True):
            content = _landed(part, plane.dtype, (len(pages), len(plane.members), *plane.shape))
            for number, (pool, place) in enumerate(plane.members):
                self._pools[pool].put_part(place, pages, content[:, number])
        mx.eval([array for pool in self._pools for array in pool.arrays])


class StatePlanes:
    """The recurrent state of a row; `example` has its shapes."""

    def __init__(self, example: RowState, version: str) -> None:
        self._shapes = [[(array.dtype, tuple(array.shape[1:])) for array in layer] for layer in example.arrays]
        flat = [each for layer in self._shapes for each in layer]
        self._order = sorted(range(len(flat)), key=lambda number: -flat[number][0].size)
        self._flat = flat
        self.form = FileForm([Tensor(f"state.{n}", NAMES[flat[n][0]], flat[n][1]) for n in self._order], version)

    def take(self, state: RowState) -> list[memoryview] | None:
        """The state as the parts of a file; None if it is not of the expected kind."""
        lone = state.alone()
        arrays = [array for layer in lone.arrays for array in layer]
        if [(array.dtype, tuple(array.shape[1:])) for array in arrays] != self._flat:
            return None
        carried = [_carried(arrays[number]) for number in self._order]
        mx.eval(carried)
        return [_bytes_of(each) for each in carried]

    def put(self, data: np.ndarray) -> RowState:
        """The state that `data` (data_bytes,) holds."""
        parts = self.form.split(data[None])
        arrays = {number: _landed(part, *self._of(number)) for number, part in zip(self._order, parts, strict=True)}
        mx.eval(list(arrays.values()))
        numbers = iter(range(len(self._flat)))
        return RowState(tuple(tuple(arrays[next(numbers)] for _ in layer) for layer in self._shapes), 0)

    def _of(self, number: int) -> tuple[mx.Dtype, tuple[int, ...]]:
        dtype, shape = self._flat[number]
        return dtype, (1, *shape)


def _carried(array: mx.array) -> mx.array:
    _, carrier = CARRIERS[array.dtype.size]
    return mx.contiguous(array).view(carrier)


def _bytes_of(array: mx.array) -> memoryview:
    """Of an array that is computed; it lives as long as they do."""
    return memoryview(cast("Any", array)).cast("B")


def _landed(part: np.ndarray, dtype: mx.Dtype, shape: tuple[int, ...]) -> mx.array:
    host, _ = CARRIERS[dtype.size]
    return mx.array(np.ascontiguousarray(part).view(host).reshape(shape)).view(dtype)
