"""Where the rows of decode passes stand, as one array on the device: a line for each, padded to a size that comes again.

An upload costs a GPU tens of microseconds, as it waits for memory to be moved. So there is one for each pass, and none for a pass that
has the rows of the one before, each one token further on the same pages: then the device itself counts on.
"""

from collections.abc import Sequence as ReadOnlySequence
from dataclasses import dataclass, field
from typing import cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear
from numpy.typing import NDArray

from pomona.engine.attention.views import TRASH_PAGE
from pomona.engine.cache.model_cache import ModelCache
from pomona.engine.sequence import Sequence

PLAIN_SIZES = (1, 8, 16, 32, 64, 96, 128)
"""Rows of passes through plain weights, and on in steps of the last. On an H200 the products of a step of 8B take 3.9 ms for one row,
7.6 to 8.2 for two to seven, 5.6 to 6.2 for 8 to 32, 7.4 for 40 or 48, 6.3 for 64, 5.9 for 128: padding is quicker than few rows.
"""
LEAST_BLOCKS = 8
"""Width of the narrowest table: 256 tokens in pages of 32."""


def padded_rows(rows: int, *, plain: bool) -> int:
    """The least size that holds `rows`: one of `PLAIN_SIZES` for models of `plain` weights, else 1, 2, 3, 4, 6, 8, 12, 16, …"""
    if plain:
        most = PLAIN_SIZES[-1]
        return next((size for size in PLAIN_SIZES if size >= rows), -(-rows // most) * most)
    size = 1
    while size < rows:
        if size > 1 and size * 3 // 2 >= rows:
            return size * 3 // 2
        size *= 2
    return size


def has_plain_weights(model: nn.Module) -> bool:
    """Whether some rows more cost nothing: no packed weights, which are for few rows; no experts, each of which is read for its rows."""
    kinds = (nn.QuantizedLinear, nn.QuantizedEmbedding, SwitchLinear, QuantizedSwitchLinear)
    return not any(isinstance(layer, kinds) for _, layer in cast("list[tuple[str, nn.Module]]", model.named_modules()))


def padded_blocks(blocks: int) -> int:
    """The least width that holds `blocks`: a power of two."""
    return max(LEAST_BLOCKS, 1 << (blocks - 1).bit_length())


def padded_tokens(tokens: int) -> int:
    """The least size that holds `tokens` of a prompt: 32, 64, …, 256, then in steps of an eighth of the next power of two. What multiplies
    matrices on CUDA looks for its best way at each new size, 0.3 to 3 ms for each weight.
    """
    step = max(32, (1 << (tokens - 1).bit_length()) // 8)
    return -(-tokens // step) * step


@dataclass(slots=True, eq=False)
class _Line:
    """What the host's copy of a line was made of."""

    row: Sequence | None = None
    tables: list[list[int]] = field(default_factory=list[list[int]])
    """The row's own object: a row that was put back comes again with another one."""
    spans: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """By group, the blocks that it sees."""


class Lines:
    """The lines of the passes of one cache. Each is a position, then for each group of layers the pages that its row sees there."""

    def __init__(self, cache: ModelCache, *, plain: bool) -> None:
        self._cache = cache
        self._plain = plain
        self.widths: tuple[int, ...] = ()
        """By group, columns of the table in the last pass."""
        self._lines: list[_Line] = []
        self._count = 0
        self._host: NDArray[np.uint32] = np.zeros((0, 0), np.uint32)
        self._next: mx.array | None = None
        self.uploads = 0

    def place(self, rows: ReadOnlySequence[Sequence]) -> mx.array:
        """(padded rows, 1 + widths) uint32 for one token of each of `rows`; padding is at position 0 of the trash page."""
        spans = [self._spans(row.computed) for row in rows]
        self._fit(padded_rows(len(rows), plain=self._plain), spans)
        changed = [line for line, row in enumerate(rows) if self._is_new(self._lines[line], row, spans[line])]
        starts = np.fromiter((row.computed for row in rows), np.uint32, len(rows))
        goes_on = not changed and len(rows) == self._count and np.array_equal(starts, self._host[: len(rows), 0] + 1)
        self._host[: len(rows), 0] = starts
        ahead, self._next = self._next, None
        if goes_on and ahead is not None:
            return ahead
        for line in changed:
            self._fill(line, rows[line], spans[line])
        for line in range(len(rows), self._count):
            self._lines[line] = _Line()
            self._host[line] = TRASH_PAGE
        self._count = len(rows)
        self.uploads += 1
        return mx.array(self._host)

    def went_on(self, lines: mx.array) -> None:
        """`lines` are those of the next pass, if it has the same rows on the same pages."""
        self._next = lines

    def split(self, lines: mx.array) -> tuple[mx.array, list[mx.array], mx.array]:
        """Positions (rows,), tables (rows, width) by group, and the lines one token further."""
        tables, end = list[mx.array](), 1
        for width in self.widths:
            tables.append(mx.contiguous(lines[:, end : end + width]))
            end += width
        step = mx.array([1] + [0] * (end - 1), dtype=mx.uint32)
        return mx.contiguous(lines[:, 0].astype(mx.int32)), tables, lines + step

    def _spans(self, start: int) -> list[tuple[int, int]]:
        size = self._cache.page_tokens
        return [(group.first_block(start, size), start // size + 1) for group in self._cache.groups]

    def _fit(self, rows: int, spans: list[list[tuple[int, int]]]) -> None:
        groups = range(len(self._cache.groups))
        widths = tuple(padded_blocks(max(of[group][1] - of[group][0] for of in spans)) for group in groups)
        if (rows, widths) != (len(self._lines), self.widths):
            self.widths = widths
            self._host = np.full((rows, 1 + sum(widths)), TRASH_PAGE, np.uint32)
            self._lines = [_Line() for _ in range(rows)]
            self._count, self._next = 0, None

    @staticmethod
    def _is_new(line: _Line, row: Sequence, spans: list[tuple[int, int]]) -> bool:
        return line.row is not row or line.tables is not row.tables or line.spans != spans

    def _fill(self, line: int, row: Sequence, spans: list[tuple[int, int]]) -> None:
        self._lines[line] = _Line(row, row.tables, spans)
        place = 1
        for table, (first, end), width in zip(row.tables, spans, self.widths, strict=True):
            self._host[line, place : place + end - first] = table[first:end]
            self._host[line, place + end - first : place + width] = TRASH_PAGE
            place += width
