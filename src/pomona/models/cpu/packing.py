"""Packed copies of weights beside their float32 form, for products on CPUs.

The products of `packed.c` read 8-bit weights in a quarter of the time that float32 ones take, and make of them exactly the float32
numbers that stand beside them. Everything else that uses weights, such as embeddings, reads those.
"""

import ctypes
import weakref
from collections.abc import Callable
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from pomona.models.cpu.blas import product_library

Packing = Literal["quantized", "all", "off"]


class PackedWeights:
    """The packed copies of one module's weights. `packed_bytes` is what they take; they are freed with the module.

    `packing` says which weights get one: those that were quantised, all that are no float32 on disk, or none. Without the compiled
    products of `blas.py` there are none either.
    """

    def __init__(self, module: nn.Module, packing: Packing) -> None:
        self._library = product_library() if packing != "off" else None
        self._halves = packing == "all"
        self._kept: dict[int, np.ndarray[Any, Any]] = {}  # no memory may be used again while packed weights stand for it
        self.packed_bytes = 0
        if self._library is not None:
            weakref.finalize(module, _forget, self._library, self._kept).atexit = False  # a product may still run then

    def add_quantized(self, plain: mx.array, layer: Any) -> None:
        """`plain` (..., out, in) is what `layer` holds in affine groups. Kinds without a packed product are left alone."""
        if self._library is None or layer.mode != "affine":
            return
        words, scales, biases = (_seen(part) for part in _flat(layer["weight"], *_floats(layer["scales"], layer["biases"])))
        pack = self._library["pomona_pack"]
        pack.restype = ctypes.c_long
        self._add(plain, lambda at, n, k: pack(at, n, k, int(layer.bits), int(layer.group_size), *map(_pointer, (words, scales, biases))))

    def add_halves(self, plain: mx.array) -> None:
        """`plain` (..., out, in) was stored with 16 bits."""
        if self._library is None or not self._halves or plain.ndim < 2:
            return
        pack = self._library["pomona_pack_halves"]
        pack.restype = ctypes.c_long
        self._add(plain, pack)

    def _add(self, plain: mx.array, pack: Callable[[ctypes.c_void_p, ctypes.c_long, ctypes.c_long], int]) -> None:
        (flat,) = _flat(plain)
        seen = _seen(plain)
        if seen.dtype != np.float32 or not seen.flags.c_contiguous or seen.ctypes.data in self._kept:
            return
        used = pack(_pointer(seen), ctypes.c_long(flat.shape[0]), ctypes.c_long(flat.shape[1]))
        if used:
            self._kept[seen.ctypes.data] = seen
            self.packed_bytes += used


def _floats(*arrays: mx.array) -> list[mx.array]:
    return [array.astype(mx.float32) for array in arrays]


def _flat(*arrays: mx.array) -> list[mx.array]:
    flat = [array.reshape(-1, array.shape[-1]) for array in arrays]
    mx.eval(flat)
    return flat


def _seen(array: mx.array) -> np.ndarray[Any, Any]:
    """The memory of `array`, not a copy."""
    return np.asarray(array)


def _pointer(array: np.ndarray[Any, Any]) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


def _forget(library: ctypes.CDLL, kept: dict[int, np.ndarray[Any, Any]]) -> None:
    for address in kept:
        library["pomona_unpack"](ctypes.c_void_p(address))
    kept.clear()
