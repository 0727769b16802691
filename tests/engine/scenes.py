"""Rows in pages, drawn at random: ragged lengths, shared beginnings, windows, sinks, padded rows, tables wider than needed."""

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from hypothesis import strategies as st

from pomona.engine.attention.paged import DecodeStep, Pools
from pomona.engine.attention.views import TRASH_PAGE, Place, padded

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """One decode step, as NumPy arrays. The last `padding` rows are none."""

    queries: Floats
    new_keys: Floats
    new_values: Floats
    key_pool: Floats
    value_pool: Floats
    pages: list[list[int]]
    """Per row: all its pages, from its first token on."""
    starts: list[int]
    window: int | None
    sinks: Floats | None
    page_tokens: int
    padding: int
    wider: int

    @property
    def rows(self) -> range:
        """The rows that count."""
        return range(len(self.starts))

    @property
    def scale(self) -> float:
        """Of the scores."""
        return self.queries.shape[-1] ** -0.5

    def row_keys(self, row: int) -> Floats:
        """(heads, tokens, dim): those before the new one."""
        return self._own(self.key_pool, row)

    def row_values(self, row: int) -> Floats:
        """As `row_keys`."""
        return self._own(self.value_pool, row)

    def slot(self, row: int) -> tuple[int, int]:
        """Page and place in it of the new token."""
        start = self.starts[row]
        return self.pages[row][start // self.page_tokens], start % self.page_tokens

    def place(self) -> Place:
        """With the padded rows."""
        firsts = [0 if self.window is None else max(0, start - self.window + 1) // self.page_tokens for start in self.starts]
        seen = [pages[first:] for pages, first in zip(self.pages, firsts, strict=True)]
        table = padded(seen, len(seen) + self.padding, max(map(len, seen)) + self.wider)
        starts = mx.array([*self.starts, *[0] * self.padding], dtype=mx.int32)
        return Place(table=mx.array(table), starts=starts, counts=None, window=self.window, page_tokens=self.page_tokens)

    def step(self, dtype: mx.Dtype, *, fresh: bool = True) -> DecodeStep:
        """For kernels; unless `fresh`, the new tokens lie in the pools already."""
        pools = Pools(mx.array(self.key_pool).astype(dtype), mx.array(self.value_pool).astype(dtype))
        new = (mx.array(self.new_keys).astype(dtype), mx.array(self.new_values).astype(dtype))
        if not fresh:
            keys, values = self.key_pool.copy(), self.value_pool.copy()
            for row in self.rows:
                page, slot = self.slot(row)
                keys[:, page, slot], values[:, page, slot] = self.new_keys[row, :, 0], self.new_values[row, :, 0]
            pools = Pools(mx.array(keys).astype(dtype), mx.array(values).astype(dtype))
        return DecodeStep(
            queries=mx.array(self.queries).astype(dtype),
            new=new if fresh else None,
            pools=pools,
            place=self.place(),
            scale=self.scale,
            limit=self.window,
            sinks=None if self.sinks is None else mx.array(self.sinks).astype(dtype),
        )

    def _own(self, pool: Floats, row: int) -> Floats:
        own = pool[:, self.pages[row]].astype(np.float64)
        return own.reshape(own.shape[0], -1, own.shape[-1])[:, : self.starts[row]]


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Small ones, in any shape that the operations allow."""
    starts = draw(st.lists(st.integers(0, 70), min_size=1, max_size=5))
    heads, repeats = draw(st.sampled_from([(1, 1), (2, 3), (1, 8), (4, 2)]))
    dims = draw(st.sampled_from([(8, 8), (16, 8), (6, 10)]))
    return make_scene(
        starts,
        heads=heads,
        repeats=repeats,
        dims=dims,
        page_tokens=draw(st.sampled_from([4, 8, 16])),
        window=draw(st.sampled_from([None, None, 1, 7, 16, 33])),
        sinks=draw(st.booleans()),
        shared=draw(st.integers(0, 3)),
        padding=draw(st.integers(0, 2)),
        wider=draw(st.integers(0, 2)),
        seed=draw(st.integers(0, 1000)),
    )


def make_scene(
    starts: list[int],
    *,
    heads: int,
    repeats: int,
    dims: tuple[int, int],
    page_tokens: int,
    window: int | None = None,
    sinks: bool = False,
    shared: int = 0,
    padding: int = 0,
    wider: int = 0,
    seed: int = 0,
) -> Scene:
    """Rows whose next tokens have the positions `starts`, on pages in random order; the first `shared` full blocks are of one row."""
    random = np.random.default_rng(seed)
    blocks = [start // page_tokens + 1 for start in starts]
    free = iter((random.permutation(sum(blocks)) + 1).tolist())
    pages: list[list[int]] = []
    for start, count in zip(starts, blocks, strict=True):
        common = pages[0][: min(shared, start // page_tokens, starts[0] // page_tokens)] if pages else []
        pages.append([*common, *[next(free) for _ in range(count - len(common))]])
    rows = len(starts) + padding

    def normal(*shape: int) -> Floats:
        return random.standard_normal(shape).astype(np.float32)

    assert TRASH_PAGE == 0
    return Scene(
        queries=normal(rows, heads * repeats, 1, dims[0]),
        new_keys=normal(rows, heads, 1, dims[0]),
        new_values=normal(rows, heads, 1, dims[1]),
        key_pool=normal(heads, sum(blocks) + 1, page_tokens, dims[0]),
        value_pool=normal(heads, sum(blocks) + 1, page_tokens, dims[1]),
        pages=pages,
        starts=starts,
        window=window,
        sinks=normal(heads * repeats) if sinks else None,
        page_tokens=page_tokens,
        padding=padding,
        wider=wider,
    )


def numpy(array: mx.array) -> Floats:
    """A copy in NumPy, of any float type."""
    return np.array(array.astype(mx.float32), dtype=np.float32)
