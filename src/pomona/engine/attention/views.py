"""Where the rows of one forward pass stand in the pages of one group of layers.

`GroupView` is made of lists, pass by pass. `DecodeView` is made of arrays alone, so that a decode pass built on it can be compiled once
for a shape. `Place` is what both tell the kernels.
"""

from collections.abc import Callable
from collections.abc import Sequence as ReadOnlySequence
from dataclasses import dataclass, field
from itertools import pairwise

import mlx.core as mx
import numpy as np

Mask = mx.array | str | None
TRASH_PAGE = 0
"""Takes what belongs to nobody: padding."""


@dataclass(slots=True, frozen=True, kw_only=True, eq=False)
class Place:
    """`table` (rows, blocks) uint32: the pages that each row sees, from the first block that its window sees on, padded with the trash
    page. `starts` (rows,) int32: position of the first new token. `counts` (rows,) int32: new tokens; None where each row has one.
    """

    table: mx.array
    starts: mx.array
    counts: mx.array | None
    window: int | None
    page_tokens: int

    @property
    def first_blocks(self) -> mx.array:
        """(rows,): the first block that each row sees."""
        if self.window is None:
            return mx.zeros_like(self.starts)
        return mx.maximum(self.starts - (self.window - 1), 0) // self.page_tokens

    def key_positions(self) -> mx.array:
        """(rows, blocks * page_tokens): of the keys that the table names."""
        return (self.first_blocks * self.page_tokens)[:, None] + mx.arange(self.table.shape[1] * self.page_tokens)

    def visible(self, width: int, limit: int | None) -> mx.array:
        """(rows, width, keys): which of those keys each new token may see."""
        queries, keys = (self.starts[:, None] + mx.arange(width))[:, :, None], self.key_positions()[:, None]
        seen = keys <= queries
        return seen if limit is None else seen & (keys > queries - limit)

    def slots(self, width: int) -> tuple[mx.array, mx.array]:
        """(rows, width) each: page and place in it of the new tokens; padding goes to the trash page."""
        positions = self.starts[:, None] + mx.arange(width)
        blocks = mx.minimum(positions // self.page_tokens - self.first_blocks[:, None], self.table.shape[1] - 1)
        pages = mx.take_along_axis(self.table, blocks, axis=1)
        if self.counts is not None:
            pages = mx.where(mx.arange(width) < self.counts[:, None], pages, TRASH_PAGE)
        return pages.astype(mx.uint32), (positions % self.page_tokens).astype(mx.uint32)


def smaller(one: int | None, other: int | None) -> int | None:
    """Of two windows, where None is none."""
    limits = [limit for limit in (one, other) if limit is not None]
    return min(limits) if limits else None


@dataclass(slots=True, kw_only=True, eq=False)
class DecodeView:
    """One token per row, from arrays alone. A padded row has the position 0 and a table of trash pages.

    `table` (rows, blocks) uint32 may be wider than any row needs; see `Place`.
    """

    window: int | None
    page_tokens: int
    table: mx.array
    starts: mx.array
    memo: dict[object, mx.array] = field(default_factory=dict[object, mx.array])
    chained: bool = False
    dense: bool = False
    width: int = 1

    @property
    def offset(self) -> mx.array:
        """(rows,): position of each row's token."""
        return self.starts

    @property
    def blocks(self) -> int:
        """Width of the table."""
        return self.table.shape[1]

    @property
    def place(self) -> Place:
        """For the kernels."""
        return Place(table=self.table, starts=self.starts, counts=None, window=self.window, page_tokens=self.page_tokens)

    def mask(self, window: int | None, as_array: bool) -> Mask:
        """(rows, 1, 1, keys). Costs nothing where the kernels attend, since nobody computes it."""
        del as_array
        limit = smaller(window, self.window)
        key = ("mask", limit)
        if key not in self.memo:
            self.memo[key] = self.place.visible(1, limit)[:, None]
        return self.memo[key]


@dataclass(slots=True, kw_only=True, eq=False)
class GroupView:
    """As lists, for any number of tokens per row.

    A lone row can be `dense`: it sees exactly its tokens, with no padding. Otherwise the rows see whole blocks, and a mask
    hides what is not theirs.
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
    gathers: bool = False
    """The layers have kernels, which copy a lone row's keys from wherever they are: it is dense on any pages."""
    chained: bool = False
    """Some rows are guesses that see what other rows write in this pass."""
    planned: bool = False
    """MLX's own attention is to take it, even where kernels could; see `plans.py`."""
    whole_blocks: bool = False
    """Even a lone row sees whole blocks, of which there may be more than it needs."""
    padded: int = 0
    """Tokens per row, padding included, where that is more than the longest row's; `seen` has pages for them."""
    memo: dict[object, mx.array] = field(default_factory=dict[object, mx.array])
    """Masks and index arrays that all layers of the pass share, made when the first layer asks."""
    sinks: int = 0
    """The first tokens of each row, which it sees whatever the window is. Their blocks come before the `first_blocks` in `seen`."""
    joined: list[list[tuple[int, int]]] | None = None
    """Per row: positions [first, end) that see one another, whichever comes first, such as those of a picture."""
    width: int = field(init=False)
    """Tokens per row in this pass, padding included."""
    total: int = field(init=False)
    """Longest row after this pass, in tokens, padding included."""
    blocks: int = field(init=False)
    """Most blocks that a row sees."""
    first_page: int | None = field(init=False)
    """First page of a lone row on consecutive pages; else None."""
    lone_slot: tuple[int, int] | None = field(init=False)
    """Page and slot, if one token is all there is to write."""

    def __post_init__(self) -> None:
        self.width = max(self.padded, *self.counts)
        self.total = max(start + max(count, self.padded) for start, count in zip(self.starts, self.counts, strict=True))
        self.blocks = max(map(len, self.seen))
        self.first_page = self.seen[0][0] if len(self.seen) == 1 and consecutive(self.seen[0]) else None
        self.lone_slot = (self.seen[0][-1], self.starts[0] % self.page_tokens) if self.counts == [1] else None

    @property
    def dense(self) -> bool:
        """A lone row that sees exactly its tokens."""
        lone = self.first_page is not None or (self.gathers and len(self.seen) == 1)
        return lone and not self.whole_blocks and not (self.sinks and self.first_blocks[0])

    @property
    def skipped(self) -> list[int]:
        """Per row: blocks between its sinks and the first block of its window."""
        return [first - min(first, self._sink_blocks) for first in self.first_blocks]

    @property
    def _sink_blocks(self) -> int:
        return -(-self.sinks // self.page_tokens)

    @property
    def table(self) -> mx.array:
        """(rows, blocks): the pages that each row sees, padded with the trash page."""
        return self._once("table", lambda: mx.array(padded(self.seen, len(self.seen), self.blocks)))

    @property
    def place(self) -> Place:
        """For the kernels."""
        starts = self._once("starts", lambda: mx.array(self.starts, dtype=mx.int32))
        counts = None if self.width == 1 else self._once("counts", lambda: mx.array(self.counts, dtype=mx.int32))
        return Place(table=self.table, starts=starts, counts=counts, window=self.window, page_tokens=self.page_tokens)

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
        skipped, size = self.skipped[row], self.page_tokens
        pages = [self.seen[row][position // size - skipped] for position in range(start, start + count)]
        return pages + [TRASH_PAGE] * (self.width - count)

    def _once(self, key: object, make: Callable[[], mx.array]) -> mx.array:
        if key not in self.memo:
            self.memo[key] = make()
        return self.memo[key]

    @property
    def first_position(self) -> int:
        """Of a dense row: position of the first key that it sees."""
        return 0 if self.window is None or self.sinks else max(0, self.starts[0] - self.window + 1)

    def mask(self, window: int | None, as_array: bool) -> Mask:
        """As mlx-lm's `create_attention_mask`: None, "causal", or booleans (rows, 1, tokens, keys)."""
        limit = smaller(window, self.window)
        if self.dense and not as_array and self.joined is None:
            hidden = limit is not None and self.total - limit > self.first_position
            if not hidden:
                return None if self.width == 1 else "causal"
        return self._once(("mask", limit), lambda: self._mask_array(limit))

    def _mask_array(self, limit: int | None) -> mx.array:
        queries = mx.array(self.starts)[:, None] + mx.arange(self.width)  # (rows, tokens)
        if self.dense:
            keys = mx.arange(self.first_position, self.total)[None]
        else:
            places = mx.arange(self.blocks * self.page_tokens)  # (keys,)
            behind = mx.array(self.skipped)[:, None] * (places >= self._sink_blocks * self.page_tokens)
            keys = places + behind * self.page_tokens  # (rows, keys)
        queries, keys = queries[:, :, None], keys[:, None]
        visible = keys <= queries
        for row, spans in enumerate(self.joined or ()):
            for first, end in spans:
                both = (queries >= first) & (queries < end) & (keys >= first) & (keys < end)
                visible = visible | (both & (mx.arange(len(self.starts)) == row)[:, None, None])
        if limit is not None:
            visible = visible & ((keys > queries - limit) | (keys < self.sinks))
        return visible[:, None]


View = GroupView | DecodeView


def padded(seen: ReadOnlySequence[ReadOnlySequence[int]], rows: int, blocks: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint32]]:
    """(rows, blocks) uint32: the pages that rows see, with the trash page for what is missing. `blocks` must suffice for all."""
    table = np.full((rows, blocks), TRASH_PAGE, np.uint32)
    for line, pages in enumerate(seen):
        table[line, : len(pages)] = pages
    return table


def consecutive(pages: ReadOnlySequence[int]) -> bool:
    """Whether the pages follow one another in memory, with none left behind."""
    return pages[0] != TRASH_PAGE and all(b == a + 1 for a, b in pairwise(pages))


def limit_of(view: View, mask: Mask) -> tuple[bool, int | None]:
    """Whether `mask` is one that `view` made, and the window that it stands for."""
    if mask is None or isinstance(mask, str):
        return True, view.window
    for key, array in view.memo.items():
        match key:
            case ("mask", int() | None as limit) if array is mask:
                return True, limit
            case _:
                pass
    return False, None
