"""The operations of `paged.py` on CPUs, by C functions that MLX calls in its turn (`models/cpu/attention.c`).

A token gets the same bits alone, in a batch and in any chunk of a prompt; `docs/explain/cpu.md` says what that brings.
"""

import ctypes
from typing import cast

import mlx.core as mx

from pomona.engine.attention.paged import DecodeStep, Pools, Reference
from pomona.engine.attention.views import Place
from pomona.models.cpu.blas import product_library
from pomona.models.cpu.calls import MOST_PAGE_TOKENS, WIDEST, Desk, Pages, Way


class CpuKernels:
    """See `Kernels`."""

    in_place = True
    traceable = False
    heads_at_once = 0
    takes_chunks = True

    def __init__(self, library: ctypes.CDLL) -> None:
        self._desk = Desk(library)

    def takes(self, pools: Pools) -> bool:
        """Float32, heads of a multiple of 8 up to 512, pages of up to 256 tokens."""
        dims = (pools.keys.shape[3], pools.values.shape[3])
        fits = all(dim % 8 == 0 and dim <= WIDEST for dim in dims) and pools.keys.shape[2] <= MOST_PAGE_TOKENS
        return fits and pools.keys.dtype == pools.values.dtype == mx.float32

    def attend(self, step: DecodeStep) -> tuple[mx.array, Pools]:
        """See `Kernels`."""
        pools, new = step.pools, step.new
        if new is not None and pools.keys.shape[3] != pools.values.shape[3]:
            pools, new = self.write(pools, *new, step.place), None
        queries = _behind(step.queries, pools.after)
        sinks = None if step.sinks is None else step.sinks.astype(mx.float32)
        way = Way(pages=_pages(step.place), scale=step.scale, limit=step.limit, sinks=sinks)
        mixed = self._desk.attend(queries, new, (pools.keys, pools.values), way)
        return mixed, Pools(pools.keys, pools.values, mixed)

    def write(self, pools: Pools, keys: mx.array, values: mx.array, place: Place) -> Pools:
        """See `Kernels`. Padding goes nowhere."""
        pages = _pages(place)
        done = self._desk.write(pools.keys, _behind(keys, pools.after), pages)
        return Pools(pools.keys, pools.values, self._desk.write(pools.values, _behind(values, done), pages))

    def gather(self, pools: Pools, place: Place, first: int, tokens: int) -> tuple[mx.array, mx.array]:
        """See `Kernels`."""
        written = Pools(_behind(pools.keys, pools.after), _behind(pools.values, pools.after))
        return Reference().gather(written, place, first, tokens)


def find_kernels() -> CpuKernels | None:
    """None where the C functions could not be compiled, or MLX does not use them."""
    library = product_library()
    return None if library is None else CpuKernels(library)


def _behind(array: mx.array, after: mx.array | None) -> mx.array:
    """`array`, not before `after` is computed."""
    return array if after is None else cast("mx.array", mx.depends(array, after))


def _pages(place: Place) -> Pages:
    return Pages(table=place.table, starts=place.starts, counts=place.counts, window=place.window)
