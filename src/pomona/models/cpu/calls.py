"""Functions of `attention.c`, which MLX's CPU stream calls in its turn, as lazily as its own operations.

MLX cannot be taught operations from Python on CPUs, but its products end in a function of ours (`blas.py`). A product with a matrix
that lies in a `Desk` is a call there; the desk says of what.
"""

import ctypes
import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

CALLS = 4096
"""Calls that may be under way at once; more than two passes of the deepest models have."""
STANDING = 2048
"""Places of calls that are always the same, such as that of each norm."""
SIDE = 8
LARGEST = 4096
"""Numbers of a matrix that marks a call."""
WRITE, ATTEND, STEP, SILU, NORM = 1, 2, 3, 4, 5
Function = Callable[[mx.array], mx.array]
WIDEST, MOST_PAGE_TOKENS = 512, 256
"""Of heads and pages, as `attention.c` has room for."""
_ADDRESSES = ("keys", "values", "table", "starts", "counts", "sinks")
_NUMBERS = ("kind", "rows", "heads", "repeats", "width", "dim", "out_dim", "page_tokens", "pages", "blocks", "limit", "window")
_CALL = np.dtype([*((name, np.uint64) for name in _ADDRESSES), *((name, np.int32) for name in _NUMBERS), ("scale", np.float32)], align=True)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pages:
    """Where rows stand: as `Place` of the engine says, on the host. `counts` is None where each row has one token."""

    table: mx.array
    starts: mx.array
    counts: mx.array | None
    window: int | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Way:
    """How to attend: over at most `limit` keys; `sinks` (query_heads,) take weight and give nothing."""

    pages: Pages
    scale: float
    limit: int | None
    sinks: mx.array | None


class Desk:
    """Calls of one user. What they read and write stays alive until as many others have been made."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._matrix = mx.zeros((CALLS + STANDING + LARGEST,))
        mx.eval(self._matrix)
        self._calls = np.zeros(CALLS + STANDING, _CALL)
        self._held: list[tuple[Any, ...]] = [()] * CALLS
        self._marks: dict[tuple[int, int, int], mx.array] = {}
        self._last: tuple[Pages, list[int]] | None = None
        self._next = 0
        self._free = list(range(CALLS, CALLS + STANDING))
        address = ctypes.c_void_p(_address(self._matrix))
        if not library["pomona_open_desk"](address, ctypes.c_long(CALLS + STANDING), self._calls.ctypes.data_as(ctypes.c_void_p)):
            raise MemoryError("no memory for calls of C functions")
        weakref.finalize(self, _close, library, address, self._matrix, self._calls).atexit = False  # a call may still run then

    def write(self, pool: mx.array, tokens: mx.array, pages: Pages) -> mx.array:
        """Put `tokens` (rows, heads, width, dim) to their places in `pool` (heads, pages, page_tokens, dim).

        The result stands for its being done: what reads the pool must depend on it.
        """
        rows, heads, width, dim = tokens.shape
        self._fill(WRITE, (pool, None), pages, None, (rows, heads, 1, width, dim, dim), 0, 0.0)
        return self._mark(tokens, math.gcd(dim, 64), 1)

    def attend(self, queries: mx.array, new: tuple[mx.array, mx.array] | None, pools: tuple[mx.array, mx.array], way: Way) -> mx.array:
        """(rows, query_heads, width, dim) -> the same with the values' dim: causal, over the pools.

        With one token a row and keys as wide as values there may be `new` ones (rows, heads, 1, dim), which are written first.
        """
        rows, query_heads, width, dim = queries.shape
        heads, out_dim = pools[0].shape[0], pools[1].shape[3]
        shape = (rows, heads, query_heads // heads, width, dim, out_dim)
        if new is not None:
            self._fill(STEP, pools, way.pages, way.sinks, shape, way.limit or 0, way.scale)
            given = mx.concatenate([queries, *new], axis=1)
            return self._mark(given, SIDE, SIDE).reshape(given.shape)[:, :query_heads]
        self._fill(ATTEND, pools, way.pages, way.sinks, shape, way.limit or 0, way.scale)
        unit = math.gcd(dim, out_dim, SIDE)
        return self._mark(queries, dim // unit, out_dim // unit).reshape(rows, query_heads, width, out_dim)

    def silu(self) -> Function | None:
        """x to x times its sigmoid, float32, a multiple of 8 numbers. As a standing call it can be part of a compiled function.

        None where all places for such calls are taken.
        """
        return self._standing({"kind": SILU}, None)

    def norm(self, weight: mx.array, epsilon: float) -> Function | None:
        """As `mx.fast.rms_norm`, for float32 and widths of a multiple of 8; as `silu`."""
        return self._standing({"kind": NORM, "keys": _address(weight), "dim": weight.shape[0], "scale": epsilon}, weight)

    def _standing(self, values: dict[str, float], held: mx.array | None) -> Function | None:
        """Its place is free again when nobody has the function any more."""
        if not self._free:
            return None
        place = self._free.pop()
        for name, value in values.items():
            self._calls[place][name] = value
        mark = self._matrix[place : place + SIDE**2].reshape(SIDE, SIDE)
        mx.eval(mark)

        def call(x: mx.array) -> mx.array:
            return (x.reshape(-1, SIDE) @ mark).reshape(x.shape)

        weakref.finalize(call, self._leave, place, held).atexit = False
        return call

    def _leave(self, place: int, held: mx.array | None) -> None:
        del held
        self._free.append(place)

    def _fill(  # noqa: PLR0913, PLR0917 - what `attention.c` reads
        self,
        kind: int,
        pools: tuple[mx.array, mx.array | None],
        pages: Pages,
        sinks: mx.array | None,
        shape: tuple[int, ...],
        limit: int,
        scale: float,
    ) -> None:
        """Write the next call down."""
        place = self._next = (self._next + 1) % CALLS
        addresses = [
            _address(pools[0]),
            0 if pools[1] is None else _address(pools[1]),
            *self._whereabouts(pages),
            0 if sinks is None else _address(sinks),
        ]
        sizes = (pools[0].shape[2], pools[0].shape[1], pages.table.shape[1])
        self._calls[place] = (*addresses, kind, *shape, *sizes, limit, pages.window or 0, scale)
        self._held[place] = (pools, pages, sinks)

    def _whereabouts(self, pages: Pages) -> list[int]:
        """Addresses of table, starts and counts, which all layers of a pass share."""
        if self._last is None or self._last[0].table is not pages.table or self._last[0].starts is not pages.starts:
            self._last = pages, [0 if array is None else _address(array) for array in (pages.table, pages.starts, pages.counts)]
        return self._last[1]

    def _mark(self, given: mx.array, height: int, width: int) -> mx.array:
        """The product that is the call: (numbers of `given` / height, width)."""
        key = (self._next, height, width)
        if key not in self._marks:
            self._marks[key] = self._matrix[self._next : self._next + height * width].reshape(height, width)
        return given.reshape(-1, height) @ self._marks[key]


def _address(array: mx.array) -> int:
    """Of memory that is not copied; what is not computed yet is waited for."""
    seen: np.ndarray[Any, Any] = np.asarray(array)
    if not seen.flags.c_contiguous:
        raise ValueError(f"C functions read memory as it lies, which for shape {seen.shape} has strides {seen.strides}")
    return seen.__array_interface__["data"][0]


def _close(library: ctypes.CDLL, address: ctypes.c_void_p, *kept: object) -> None:
    library["pomona_close_desk"](address)
    del kept
