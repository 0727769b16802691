"""The C functions of `encoder.c` on MLX arrays.

They work in place, on the memory of arrays that somebody just computed and nobody else refers to; float32 and row-major only.
"""

import ctypes
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from pomona.models.cpu.compiling import compiled_library
from pomona.models.device import usable_cores


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    """Where texts lie in an array of the tokens of all of them: `starts` and `lengths`, int32, one per text."""

    starts: np.ndarray[tuple[int], np.dtype[np.int32]]
    lengths: np.ndarray[tuple[int], np.dtype[np.int32]]


class Kernels:
    """Made by `load_kernels`. Every method changes its first argument, and returns it."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def gelu(self, x: mx.array) -> mx.array:
        """x (tokens, width) times the share of the normal distribution below x, within 3e-7 of x."""
        self._library["pomona_gelu"](_address(x), ctypes.c_long(x.shape[0]), ctypes.c_int(x.shape[1]))
        return x

    def gelu_gate(self, x: mx.array) -> mx.array:
        """The gelu of the first half of x (tokens, 2 width) times the second half; returns (tokens, width)."""
        width = x.shape[1] // 2
        self._library["pomona_gelu_gate"](_address(x), ctypes.c_long(x.shape[0]), ctypes.c_int(width))
        return x[:, :width]

    def add_norm(self, x: mx.array, residual: mx.array, weight: mx.array, bias: mx.array | None, epsilon: float) -> mx.array:
        """The layer norm of x + residual, each (tokens, width)."""
        mx.eval(x, residual)
        self._library["pomona_add_norm"](
            _address(x),
            _address(residual),
            _address(weight),
            None if bias is None else _address(bias),
            ctypes.c_float(epsilon),
            ctypes.c_long(x.shape[0]),
            ctypes.c_int(x.shape[1]),
        )
        return x

    def rotate(self, qkv: mx.array, cosines: mx.array, sines: mx.array, heads: int) -> mx.array:
        """Rotate queries and keys of qkv (tokens, 3 width), one half of a head with the other, by tables (tokens, head width / 2)."""
        tokens, size = qkv.shape[0], qkv.shape[1] // 3 // heads
        address = _address(qkv)
        tables = _address(cosines), _address(sines)
        self._library["pomona_rotate"](address, *tables, ctypes.c_long(tokens), ctypes.c_int(heads), ctypes.c_int(size))
        return qkv

    def attend(self, qkv: mx.array, spans: Spans, heads: int, window: int | None) -> mx.array:
        """Attention within each text of qkv (tokens, 3 width); returns (tokens, width). `window`: only to tokens at most so far away."""
        width = qkv.shape[1] // 3
        failed = self._library["pomona_attend"](
            _address(qkv),
            spans.starts.ctypes.data_as(ctypes.c_void_p),
            spans.lengths.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int(len(spans.lengths)),
            ctypes.c_int(heads),
            ctypes.c_int(width // heads),
            ctypes.c_float((width // heads) ** -0.5),
            ctypes.c_int(-1 if window is None else window),
        )
        if failed:
            raise MemoryError(f"There is no memory for the attention of a text of {int(spans.lengths.max())} tokens.")
        return qkv[:, :width]


def load_kernels(cache_folder: Path) -> Kernels | None:
    """The functions, compiled for this machine; None where they are not needed (macOS) or no C compiler works."""
    path = compiled_library("encoder", "pomona_attend", cache_folder) if sys.platform == "linux" else None
    if path is None:
        return None
    library = ctypes.CDLL(str(path), mode=ctypes.RTLD_LOCAL)
    library["pomona_encoder_threads"](ctypes.c_int(usable_cores()))
    return Kernels(library)


def _address(array: mx.array) -> ctypes.c_void_p:
    """Where the numbers of a float32 array lie; it is computed first."""
    mx.eval(array)
    seen: np.ndarray[Any, Any] = np.asarray(array)
    if seen.dtype != np.float32 or not seen.flags.c_contiguous:
        raise ValueError(f"{seen.dtype} of shape {seen.shape} with strides {seen.strides} is no row-major float32.")
    return seen.ctypes.data_as(ctypes.c_void_p)
