"""What the model's layers remember, and the objects that its code meets as `cache`.

mlx-lm's model definitions ask each layer's cache for four things: `offset` (for RoPE), `make_mask`, `update_and_fetch` and, in
recurrent layers, items. `PagedLayer` answers them from pages; recurrent layers get mlx-lm's own `ArraysCache`, filled with
the rows of the batch. One rule per kind:

- full attention: every block is needed; a prefix hit shares its pages.
- sliding window: blocks behind the window are released; a hit needs only those that the window still sees.
- quantised: the same pages, holding packed values, scales and biases.
- recurrent: no positions to share; a hit needs a snapshot of the state at exactly that boundary.
"""

from collections.abc import Callable
from collections.abc import Sequence as ReadOnlySequence
from dataclasses import dataclass, field
from itertools import pairwise

import mlx.core as mx
from mlx_lm.models.cache import ArraysCache

from pomona.core.errors import ConfigurationError
from pomona.engine.cache.pages import TRASH_PAGE


class PagePool:
    """Keys, or values, of one layer: few large arrays of shape (heads, pages, page_tokens, width).

    Heads come first, so that consecutive pages of a row are one strided slice and need no copy.
    """

    def __init__(self, heads: int, dim: int, dtype: mx.Dtype, page_tokens: int, bits: int | None) -> None:
        self.dim = dim
        self.dtype = dtype
        self.bits = bits
        self._group_size = next((size for size in (64, 32) if dim % size == 0), 0)
        if bits is not None and not self._group_size:
            raise ConfigurationError(f"engine.kv_bits={bits!r} needs heads of a multiple of 32; this model's have {dim}. Unset it.")
        row = mx.zeros((heads, 1, page_tokens, dim), dtype=dtype)
        self.arrays: tuple[mx.array, ...] = self._pack(row)
        self.page_bytes = sum(array.nbytes for array in self.arrays)

    def resize(self, pages: int) -> None:
        """Grow or shrink to `pages` pages. Copies once; growth doubles, so this is rare."""
        if pages < self.arrays[0].shape[1]:
            self.arrays = tuple(mx.take(a, mx.arange(pages), axis=1) for a in self.arrays)  # a slice would keep the whole buffer
            return
        self.arrays = tuple(
            mx.concatenate([a, mx.zeros((a.shape[0], pages - a.shape[1], *a.shape[2:]), dtype=a.dtype)], axis=1) for a in self.arrays
        )

    def write(self, view: "GroupView", values: mx.array) -> None:
        """Put `values` (rows, heads, tokens, dim) where `view` says, in place."""
        for array, part in zip(self.arrays, self._pack(values), strict=True):
            if view.lone_slot is not None:  # a slice costs 14 us, a scatter 35 (CPU)
                page, slot = view.lone_slot
                array[:, page, slot] = part[0, :, 0]
            else:
                array[:, view.pages, view.slots] = part.transpose(1, 0, 2, 3)

    def slice(self, first_page: int, pages: int) -> mx.array:
        """(1, heads, pages * page_tokens, dim) of consecutive pages: a view, unless quantised."""
        return self._unpack(tuple(_flatten(a[:, first_page : first_page + pages])[None] for a in self.arrays))

    def gather(self, table: mx.array) -> mx.array:
        """(rows, heads, blocks * page_tokens, dim) of the pages in `table` (rows, blocks): a copy."""
        parts = tuple(mx.take(a, table, axis=1) for a in self.arrays)  # (heads, rows, blocks, page_tokens, width)
        return self._unpack(tuple(p.reshape(*p.shape[:2], -1, p.shape[-1]).swapaxes(0, 1) for p in parts))

    def read(self, pages: ReadOnlySequence[int]) -> list[mx.array]:
        """The content of `pages`, not computed yet, in the order of `arrays`: (pages, heads, page_tokens, width) each."""
        if consecutive(pages):
            return [a[:, pages[0] : pages[0] + len(pages)].swapaxes(0, 1) for a in self.arrays]
        return [mx.take(a, mx.array(pages, dtype=mx.uint32), axis=1).swapaxes(0, 1) for a in self.arrays]

    def put(self, pages: ReadOnlySequence[int], parts: ReadOnlySequence[mx.array]) -> None:
        """Make `parts`, as `read` gives them, the content of `pages`, in place."""
        for array, part in zip(self.arrays, parts, strict=True):
            content = part.swapaxes(0, 1)
            if consecutive(pages):
                array[:, pages[0] : pages[0] + len(pages)] = content
            else:
                array[:, mx.array(pages, dtype=mx.uint32)] = content

    def _pack(self, values: mx.array) -> tuple[mx.array, ...]:
        if self.bits is None:
            return (values.astype(self.dtype),)
        return tuple(mx.quantize(values, group_size=self._group_size, bits=self.bits))

    def _unpack(self, parts: tuple[mx.array, ...]) -> mx.array:
        if self.bits is None:
            return parts[0]
        packed, scales, biases = parts
        return mx.dequantize(packed, scales, biases, group_size=self._group_size, bits=self.bits)


@dataclass(slots=True, kw_only=True, eq=False)
class GroupView:
    """Where the rows of one forward pass stand in the pages of one group of layers.

    A lone row on consecutive pages is `dense`: it sees exactly its tokens, with no padding. Otherwise the rows see whole
    blocks, and a mask hides what is not theirs.
    """

    window: int | None
    page_tokens: int
    starts: list[int]
    """Per row: position of its first token in this pass."""
    counts: list[int]
    """Per row: its tokens in this pass."""
    first_blocks: list[int]
    """Per row: the first block that it sees."""
    seen: list[list[int]]
    """Per row: the pages that it sees, from its first block to the one that its last token goes to."""
    offset: int | mx.array
    memo: dict[object, mx.array] = field(default_factory=dict[object, mx.array])
    """Masks and index arrays that all layers of the pass share, made when the first layer asks."""
    joined: list[list[tuple[int, int]]] | None = None
    """Per row: positions [first, end) that see one another, whichever comes first, such as those of a picture."""
    width: int = field(init=False)
    """Tokens per row in this pass, padding included."""
    total: int = field(init=False)
    """Longest row after this pass, in tokens."""
    blocks: int = field(init=False)
    """Most blocks that a row sees."""
    first_page: int | None = field(init=False)
    """First page of a dense row; None if the rows are not dense."""
    lone_slot: tuple[int, int] | None = field(init=False)
    """Page and slot, if one token is all there is to write."""

    def __post_init__(self) -> None:
        self.width = max(self.counts)
        self.total = max(start + count for start, count in zip(self.starts, self.counts, strict=True))
        self.blocks = max(map(len, self.seen))
        self.first_page = self.seen[0][0] if len(self.seen) == 1 and consecutive(self.seen[0]) else None
        self.lone_slot = (self.seen[0][-1], self.starts[0] % self.page_tokens) if self.counts == [1] else None

    @property
    def table(self) -> mx.array:
        """(rows, blocks): the pages that each row sees, padded with the trash page."""
        return self._once("table", lambda: mx.array([row + [TRASH_PAGE] * (self.blocks - len(row)) for row in self.seen], dtype=mx.uint32))

    @property
    def pages(self) -> mx.array:
        """(rows, tokens): the page that each new token goes to; padding goes to the trash page."""
        return self._once("pages", lambda: mx.array([self._pages_of(row) for row in range(len(self.seen))], dtype=mx.uint32))

    @property
    def slots(self) -> mx.array:
        """(rows, tokens): the place of each new token in its page."""
        return self._once("slots", lambda: (mx.array(self.starts)[:, None] + mx.arange(self.width)) % self.page_tokens)

    def _pages_of(self, row: int) -> list[int]:
        start, count = self.starts[row], self.counts[row]
        first, size = self.first_blocks[row], self.page_tokens
        pages = [self.seen[row][position // size - first] for position in range(start, start + count)]
        return pages + [TRASH_PAGE] * (self.width - count)

    def _once(self, key: object, make: Callable[[], mx.array]) -> mx.array:
        if key not in self.memo:
            self.memo[key] = make()
        return self.memo[key]

    @property
    def first_position(self) -> int:
        """Of a dense row: position of the first key that it sees."""
        return 0 if self.window is None else max(0, self.starts[0] - self.window + 1)

    def mask(self, window: int | None, as_array: bool) -> mx.array | str | None:
        """As mlx-lm's `create_attention_mask`: None, "causal", or booleans (rows, 1, tokens, keys)."""
        limits = [limit for limit in (window, self.window) if limit is not None]
        limit = min(limits) if limits else None
        if self.first_page is not None and not as_array and self.joined is None:
            hidden = limit is not None and self.total - limit > self.first_position
            if not hidden:
                return None if self.width == 1 else "causal"
        return self._once(("mask", limit), lambda: self._mask_array(limit))

    def _mask_array(self, limit: int | None) -> mx.array:
        queries = mx.array(self.starts)[:, None] + mx.arange(self.width)  # (rows, tokens)
        if self.first_page is not None:
            keys = mx.arange(self.first_position, self.total)[None]
        else:
            firsts = mx.array(self.first_blocks)[:, None] * self.page_tokens
            keys = firsts + mx.arange(self.blocks * self.page_tokens)  # (rows, keys)
        queries, keys = queries[:, :, None], keys[:, None]
        visible = keys <= queries
        for row, spans in enumerate(self.joined or ()):
            for first, end in spans:
                both = (queries >= first) & (queries < end) & (keys >= first) & (keys < end)
                visible = visible | (both & (mx.arange(len(self.starts)) == row)[:, None, None])
        if limit is not None:
            visible = visible & (keys > queries - limit)
        return visible[:, None]


class PagedLayer:
    """The `cache` of one attention layer: reads and writes pages where the present pass's view says."""

    def __init__(self, keys: PagePool, values: PagePool) -> None:
        self.key_pool = keys
        self.value_pool = values
        self.view: GroupView | None = None
        self._fetched: tuple[mx.array, mx.array] | None = None

    @property
    def present(self) -> GroupView:
        """The view of the pass that is being built."""
        if self.view is None:
            raise RuntimeError("a paged layer was used outside a forward pass")
        return self.view

    @property
    def offset(self) -> int | mx.array:
        """Position of the first new token: a number for a lone row, (rows,) otherwise."""
        return self.present.offset

    def make_mask(self, N: int, return_array: bool = False, window_size: int | None = None) -> mx.array | str | None:  # noqa: N803
        """The mask for `N` new tokens; called by mlx-lm's `create_attention_mask`."""
        del N
        return self.present.mask(window_size, return_array)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Write (rows, heads, tokens, dim) and return all visible keys and values in order.

        The result is lazy: attention over pages (`engine/attention`) recognises it and never computes it.
        """
        view = self.present
        self.key_pool.write(view, keys)
        self.value_pool.write(view, values)
        self._fetched = (self._fetch(self.key_pool), self._fetch(self.value_pool))
        return self._fetched

    def keys_and_values(self) -> tuple[mx.array, mx.array]:
        """The last result of `update_and_fetch`, for layers that share another layer's keys."""
        if self._fetched is None:
            raise RuntimeError("keys_and_values before update_and_fetch")
        return self._fetched

    def is_fetched(self, keys: mx.array, values: mx.array) -> bool:
        """Whether these are the very arrays that `update_and_fetch` returned, not something made of them."""
        return self._fetched is not None and keys is self._fetched[0] and values is self._fetched[1]

    def end_pass(self) -> None:
        """Drop references, so that the next pass can write in place."""
        self.view = None
        self._fetched = None

    def _fetch(self, pool: PagePool) -> mx.array:
        view = self.present
        if view.first_page is None:
            return pool.gather(view.table)
        first = view.first_position
        skipped = first - view.first_blocks[0] * view.page_tokens
        return pool.slice(view.first_page, view.blocks)[:, :, skipped : skipped + view.total - first]


def _flatten(pages: mx.array) -> mx.array:
    """(heads, pages, page_tokens, width) -> (heads, tokens, width); a view, as consecutive pages of a head touch."""
    return pages.reshape(pages.shape[0], -1, pages.shape[-1])


def arrays_cache(arrays: tuple[mx.array, ...]) -> ArraysCache:
    """mlx-lm's recurrent cache holding `arrays`."""
    cache = ArraysCache(len(arrays))
    cache.cache = list(arrays)
    return cache


def consecutive(pages: ReadOnlySequence[int]) -> bool:
    """Whether the pages follow one another in memory, with none left behind."""
    return pages[0] != TRASH_PAGE and all(b == a + 1 for a, b in pairwise(pages))
