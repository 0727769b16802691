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

    def check(self, tokens: int) -> None:
        """Raise ValueError unless the texts follow each other and fill an array of `tokens`."""
        ends = np.cumsum(self.lengths)
        if not len(ends) or ends[-1] != tokens or self.lengths.min() < 1 or (self.starts != ends - self.lengths).any():
            raise ValueError(f"Texts at {self.starts.tolist()!r} of lengths {self.lengths.tolist()!r} do not fill {tokens} tokens.")


class Kernels:
    """Made by `load_kernels`. Every method changes its first argument, and returns it."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def gelu(self, x: mx.array) -> mx.array:
        """x (tokens, width) times the share of the normal distribution below x, within 3e-7 of x."""
        tokens, width = x.shape
        self._library["pomona_gelu"](_address(x, tokens, width), ctypes.c_long(tokens), ctypes.c_int(width))
        return x

    def gelu_gate(self, x: mx.array) -> mx.array:
        """The gelu of the first half of x (tokens, 2 width) times the second half; returns (tokens, width)."""
        tokens, width = x.shape[0], x.shape[1] // 2
        self._library["pomona_gelu_gate"](_address(x, tokens, 2 * width), ctypes.c_long(tokens), ctypes.c_int(width))
        return x[:, :width]

    def add_norm(self, x: mx.array, residual: mx.array, weight: mx.array, bias: mx.array | None, epsilon: float) -> mx.array:
        """The layer norm of x + residual, each (tokens, width)."""
        mx.eval(x, residual)
        tokens, width = x.shape
        self._library["pomona_add_norm"](
            _address(x, tokens, width),
            _address(residual, tokens, width),
            _address(weight, width),
            None if bias is None else _address(bias, width),
            ctypes.c_float(epsilon),
            ctypes.c_long(tokens),
            ctypes.c_int(width),
        )
        return x

    def rotate(self, qkv: mx.array, cosines: mx.array, sines: mx.array, heads: int) -> mx.array:
        """Rotate queries and keys of qkv (tokens, 3 width), one half of a head with the other, by tables (tokens, head width / 2)."""
        tokens, size = qkv.shape[0], qkv.shape[1] // 3 // heads
        address = _address(qkv, tokens, 3 * heads * size)
        tables = _address(cosines, tokens, size // 2), _address(sines, tokens, size // 2)
        self._library["pomona_rotate"](address, *tables, ctypes.c_long(tokens), ctypes.c_int(heads), ctypes.c_int(size))
        return qkv

    def attend(self, qkv: mx.array, spans: Spans, heads: int, window: int | None) -> mx.array:
        """Attention within each text of qkv (tokens, 3 width); returns (tokens, width). `window`: only to tokens at most so far away."""
        tokens, width = qkv.shape[0], qkv.shape[1] // 3
        spans.check(tokens)
        failed = self._library["pomona_attend"](
            _address(qkv, tokens, 3 * (width // heads) * heads),
            spans.starts.ctypes.data_as(ctypes.c_void_p),
            spans.lengths.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int(len(spans.lengths)),
            ctypes.c_int(heads),
            ctypes.c_int(width // heads),
            ctypes.c_float((width // heads) ** -0.5),
            ctypes.c_int(-1 if window is None else min(window, tokens)),
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


def _address(array: mx.array, *shape: int) -> ctypes.c_void_p:
    """Where the numbers of a float32 array of `shape` lie; it is computed first. Raises ValueError for another: C would not notice."""
    mx.eval(array)
    seen: np.ndarray[Any, Any] = np.asarray(array)
    if seen.dtype != np.float32 or seen.shape != shape or not seen.flags.c_contiguous:
        raise ValueError(f"{seen.dtype} of shape {seen.shape} with strides {seen.strides} is no row-major float32 of shape {shape}.")
    return seen.ctypes.data_as(ctypes.c_void_p)
