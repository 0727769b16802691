"""What the model's layers remember, and the objects that its code meets as `cache`.

mlx-lm's model definitions ask each layer's cache for four things: `offset` (for RoPE), `make_mask`, `update_and_fetch` and, in
recurrent layers, items. `PagedLayer` answers them from pages; recurrent layers get mlx-lm's own `ArraysCache`, filled with
the rows of the batch. One rule per kind:

- full attention: every block is needed; a prefix hit shares its pages.
- sliding window: blocks behind the window are released; a hit needs only those that the window still sees.
- quantised: the same pages, holding packed values, scales and biases.
- recurrent: no positions to share; a hit needs a snapshot of the state at exactly that boundary.
"""

from collections.abc import Sequence as ReadOnlySequence

import mlx.core as mx
from mlx_lm.models.cache import ArraysCache

from pomona.core.errors import ConfigurationError
from pomona.engine.attention.attend import Attendant
from pomona.engine.attention.gathered import attend_gathered, suits
from pomona.engine.attention.paged import Choosy, DecodeStep, Kernels, Pools, attend_chunk
from pomona.engine.attention.views import GroupView, Mask, View, consecutive, limit_of


class PagePool:
    """Keys, or values, of one layer: few large arrays of shape (heads, pages, page_tokens, width).

    Heads come first, so that consecutive pages of a row are one strided slice and need no copy.
    """

    def __init__(self, heads: int, dim: int, dtype: mx.Dtype, page_tokens: int, bits: int | None) -> None:
        self.dim = dim
        self.dtype = dtype
        self.bits = bits
        self.in_place = False
        """Kernels write into the arrays, which MLX cannot see: what is to last must be copied."""
        self._group_size = next((size for size in (64, 32) if dim % size == 0), 0)
        if bits is not None and not self._group_size:
            raise ConfigurationError(f"engine.kv_bits={bits!r} needs heads of a multiple of 32; this model's have {dim}. Unset it.")
        row = mx.zeros((heads, 1, page_tokens, dim), dtype=dtype)
        self.arrays: tuple[mx.array, ...] = self._pack(row)
        self.page_bytes = sum(array.nbytes for array in self.arrays)

    def resize(self, pages: int) -> None:
        """Grow or shrink to `pages` pages. Copies once; growth doubles, so this is rare."""
        if pages < self.arrays[0].shape[1]:
            # A slice would keep the whole buffer, and `take` alone leaves the pages first in memory, where kernels want the heads.
            self.arrays = tuple(mx.contiguous(mx.take(a, mx.arange(pages), axis=1)) for a in self.arrays)
            return
        self.arrays = tuple(
            mx.concatenate([a, mx.zeros((a.shape[0], pages - a.shape[1], *a.shape[2:]), dtype=a.dtype)], axis=1) for a in self.arrays
        )

    def write(self, view: GroupView, values: mx.array) -> None:
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
        """Copies of the content of `pages`, not computed yet, in the order of `arrays`: (pages, heads, page_tokens, width) each.

        Compute them before a pass that writes into these pages is started.
        """
        index = mx.array(list(pages), dtype=mx.uint32)  # a slice would share the pool's memory
        return [mx.take(a, index, axis=1).swapaxes(0, 1) for a in self.arrays]

    def put_part(self, place: int, pages: ReadOnlySequence[int], content: mx.array) -> None:
        """Make `content` (pages, heads, page_tokens, width) what `arrays[place]` holds for `pages`, in place if nobody else has that array.

        Whoever compiled it into a function compiles anew.
        """
        array, part = self.arrays[place], content.swapaxes(0, 1)
        if consecutive(pages):
            array[:, pages[0] : pages[0] + len(pages)] = part
        else:
            array[:, mx.array(list(pages), dtype=mx.uint32)] = part

    def _pack(self, values: mx.array) -> tuple[mx.array, ...]:
        if self.bits is None:
            return (values.astype(self.dtype),)
        return tuple(mx.quantize(values, group_size=self._group_size, bits=self.bits))

    def _unpack(self, parts: tuple[mx.array, ...]) -> mx.array:
        if self.bits is None:
            return parts[0]
        packed, scales, biases = parts
        return mx.dequantize(packed, scales, biases, group_size=self._group_size, bits=self.bits)


class PagedLayer(Attendant):
    """The `cache` of one attention layer: reads and writes pages where the present pass's view says."""

    def __init__(self, keys: PagePool, values: PagePool) -> None:
        self.key_pool = keys
        self.value_pool = values
        self.view: View | None = None
        self.kernels: Kernels | None = None
        """What writes and reads the pools instead of MLX's own operations; see `engine/attention/paged.py`."""
        self._fetched: tuple[mx.array, mx.array] | None = None
        self._unwritten: tuple[mx.array, mx.array] | None = None
        """What this pass adds to the pools, until kernels write it."""
        self._attended: set[bool] = set()
        """Whether, with one token per row (False) and with more (True), the model was seen to give what it fetched to kernels and nothing
        else. Then that may be anything: arrays that nobody computes take 25 us a layer to describe.
        """
        self._after: mx.array | None = None

    @property
    def present(self) -> View:
        """The view of the pass that is being built."""
        if self.view is None:
            raise RuntimeError("a paged layer was used outside a forward pass")
        return self.view

    @property
    def in_place(self) -> bool:
        """Passes write into the arrays of the pools and need not wait for one another."""
        return self.kernels is not None and self.kernels.in_place

    @property
    def pools(self) -> Pools:
        """Of a layer with kernels; can be set, as when a compiled pass has made new ones."""
        return Pools(self.key_pool.arrays[0], self.value_pool.arrays[0], self._after)

    @pools.setter
    def pools(self, pools: Pools) -> None:
        self.key_pool.arrays, self.value_pool.arrays, self._after = (pools.keys,), (pools.values,), pools.after

    @property
    def offset(self) -> int | mx.array:
        """Position of the first new token: a number for a lone row, (rows,) otherwise."""
        return self.present.offset

    def make_mask(self, N: int, return_array: bool = False, window_size: int | None = None) -> Mask:  # noqa: N803
        """The mask for `N` new tokens; called by mlx-lm's `create_attention_mask`."""
        del N
        return self.present.mask(window_size, return_array)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Write (rows, heads, tokens, dim) and return all visible keys and values in order.

        The result is lazy: attention over pages (`engine/attention`) recognises it and never computes it.
        """
        if self.kernels is None:
            view = self._listed
            self.key_pool.write(view, keys)
            self.value_pool.write(view, values)
            self._fetched = (self._fetch(self.key_pool), self._fetch(self.value_pool))
            return self._fetched
        pools = self.pools
        self._unwritten = keys.astype(pools.keys.dtype), values.astype(pools.values.dtype)
        self._fetched = self._unwritten if self._stands_in else self._gathered(self.kernels)
        return self._fetched

    def fetched(self) -> tuple[mx.array, mx.array]:
        """See `Attendant`."""
        if self._fetched is None:
            raise RuntimeError("keys and values were asked for before the layer had any")
        if self.kernels is not None and self._stands_in:
            self._fetched = self._gathered(self.kernels)
        return self._fetched

    def is_fetched(self, keys: mx.array, values: mx.array) -> bool:
        """Whether these are the very arrays that `update_and_fetch` returned, not something made of them."""
        return self._fetched is not None and keys is self._fetched[0] and values is self._fetched[1]

    def attend(self, queries: mx.array, scale: float, mask: Mask, sinks: mx.array | None) -> mx.array | None:
        """Over the pages: (rows, query_heads, tokens, dim) -> the same with the values' dim. None where there is no way for this."""
        if self.kernels is not None:
            return self._attend_by(self.kernels, queries, scale, mask, sinks)
        pools = (self.key_pool, self.value_pool)
        if self.key_pool.bits is not None or not suits(self.present, mask, {pool.dtype for pool in pools}):
            return None
        return attend_gathered(queries, pools[0].arrays[0], pools[1].arrays[0], self.present, scale, mask, sinks)

    def _attend_by(self, kernels: Kernels, queries: mx.array, scale: float, mask: Mask, sinks: mx.array | None) -> mx.array | None:
        """It writes what is new, with one token per row in the same operation."""
        view = self.present
        known, limit = limit_of(view, mask)
        if not known or (isinstance(view, GroupView) and view.joined is not None):
            return None
        if queries.dtype != self.key_pool.dtype or queries.shape[2] != view.width:
            return None
        if view.width > 1 or view.chained:
            self._write(kernels)
        if isinstance(view, GroupView) and view.width > 1 and not kernels.takes_chunks:
            return self._attend_chunk(kernels, view, queries, scale, sinks) if limit is None else None
        self._attended.add(view.width > 1)
        new, self._unwritten = self._unwritten, None
        step = DecodeStep(queries=queries, new=new, pools=self.pools, place=view.place, scale=scale, limit=limit, sinks=sinks)
        mixed, self.pools = kernels.attend(step)
        return mixed

    def _attend_chunk(self, kernels: Kernels, view: GroupView, queries: mx.array, scale: float, sinks: mx.array | None) -> mx.array | None:
        """For several tokens per row, where MLX's own attention would not pay."""
        heads = kernels.heads_at_once // (queries.shape[1] // self.key_pool.arrays[0].shape[0])
        tokens = 1 << heads.bit_length() - 1 if heads else 0
        if not tokens or view.width % tokens or view.planned:
            return None
        step = DecodeStep(queries=queries, new=None, pools=self.pools, place=view.place, scale=scale, sinks=sinks, tokens=tokens)
        mixed, self.pools = attend_chunk(kernels, step, view.memo)
        return mixed

    @property
    def _stands_in(self) -> bool:
        """What the model fetches in this pass is not what it is taken for."""
        return (self.present.width > 1) in self._attended

    def _gathered(self, kernels: Kernels) -> tuple[mx.array, mx.array]:
        self._write(kernels)
        return kernels.gather(self.pools, self.present.place, *_span(self.present))

    def _write(self, kernels: Kernels) -> None:
        if self._unwritten is not None:
            self.pools = kernels.write(self.pools, *self._unwritten, self.present.place)
            self._unwritten = None

    def end_pass(self) -> list[mx.array]:
        """Drop references, so that the next pass can write in place. What must be computed for all to be written."""
        self.view = self._fetched = self._unwritten = None
        written = [*self.key_pool.arrays, *self.value_pool.arrays]
        if self.in_place:
            written = [] if self._after is None else [self._after]
        self._after = None
        return written

    @property
    def _listed(self) -> GroupView:
        if not isinstance(self.present, GroupView):
            raise RuntimeError("only layers with kernels take views made of arrays")
        return self.present

    def _fetch(self, pool: PagePool) -> mx.array:
        view = self._listed
        if view.first_page is None:
            return pool.gather(view.table)
        first = view.first_position
        skipped = first - view.first_blocks[0] * view.page_tokens
        return pool.slice(view.first_page, view.blocks)[:, :, skipped : skipped + view.total - first]


def equip(layers: ReadOnlySequence[PagedLayer], kernels: Choosy | None) -> None:
    """Let the layers of one group use `kernels`, if these take all of them."""
    if kernels is not None and all(layer.key_pool.bits is None and kernels.takes(layer.pools) for layer in layers):
        for layer in layers:
            layer.kernels = kernels
            layer.key_pool.in_place = layer.value_pool.in_place = kernels.in_place


def _span(view: View) -> tuple[int, int]:
    """First of the keys in the view's table that the model is to see, and their number."""
    if isinstance(view, GroupView) and view.dense:
        first = view.first_position
        return first - view.first_blocks[0] * view.page_tokens, view.total - first
    return 0, view.blocks * view.page_tokens


def _flatten(pages: mx.array) -> mx.array:
    """(heads, pages, page_tokens, width) -> (heads, tokens, width); a view, as consecutive pages of a head touch."""
    return pages.reshape(pages.shape[0], -1, pages.shape[-1])


def arrays_cache(arrays: tuple[mx.array, ...]) -> ArraysCache:
    """mlx-lm's recurrent cache holding `arrays`."""
    cache = ArraysCache(len(arrays))
    cache.cache = list(arrays)
    return cache
