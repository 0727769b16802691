"""Decode passes traced once for each shape: then Python builds no graph, the pass is replayed.

A pass has a few hundred small operations. To build one with 32 layers takes Python milliseconds, which a GPU would wait for with few
rows; to replay its trace takes a fraction.
"""

from collections.abc import Sequence as ReadOnlySequence
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn

from pomona.engine.attention.paged import Pools
from pomona.engine.attention.views import DecodeView
from pomona.engine.cache.model_cache import ModelCache
from pomona.engine.passes.lines import Lines, has_plain_weights
from pomona.engine.sequence import Sequence

Traced = tuple[mx.array, mx.array, list[mx.array], list[mx.array]]
"""Logits, the lines of the next pass, pools, and what must be computed besides for all to be written."""


class CompiledDecode:
    """The decode passes of one model whose layers all have kernels for pages."""

    def __init__(self, model: nn.Module, cache: ModelCache) -> None:
        self._model = model
        self._cache = cache
        self._layers = [layer for group in cache.groups for layer in group.layers]
        self.lines = Lines(cache, plain=has_plain_weights(model))
        self._replays: dict[tuple[int, ...], Any] = {}
        """By the widths of the tables, which one array holds."""

    @staticmethod
    def takes(rows: ReadOnlySequence[Sequence]) -> bool:
        """Adapters change the model from pass to pass, and pictures the positions."""
        return all(row.adapter is None and row.pictures is None for row in rows)

    def forward(self, rows: ReadOnlySequence[Sequence], tokens: mx.array) -> tuple[mx.array, list[mx.array]]:
        """Logits (rows, vocabulary) behind one more token for each row, and what is written."""
        for group in self._cache.groups:
            group.fit_pools()
        lines = self.lines.place(rows)
        padding = lines.shape[0] - len(rows)
        if padding:
            tokens = mx.concatenate([tokens, mx.zeros((padding,), dtype=tokens.dtype)])
        if self.lines.widths not in self._replays:
            self._replays[self.lines.widths] = mx.compile(self._trace)
        pools = [array for layer in self._layers for array in layer.pools[:2]]
        traced = cast("Traced", self._replays[self.lines.widths](tokens.astype(mx.int32), lines, pools))
        logits, further, made, written = traced
        self._take_pools(pools, made)
        self.lines.went_on(further)
        return logits[: len(rows)] if padding else logits, [*written, *made, further]

    def _trace(self, tokens: mx.array, lines: mx.array, pools: list[mx.array]) -> Traced:
        starts, tables, further = self.lines.split(lines)
        size = self._cache.page_tokens
        views = [
            DecodeView(window=group.window, page_tokens=size, table=table, starts=starts)
            for group, table in zip(self._cache.groups, tables, strict=True)
        ]
        for layer, keys, values in zip(self._layers, pools[::2], pools[1::2], strict=True):
            layer.pools = Pools(keys, values)
        caches = self._cache.begin_decode(views)
        logits = cast("mx.array", cast("Any", self._model)(tokens[:, None], cache=caches))
        made = [] if self._cache.in_place else [array for layer in self._layers for array in layer.pools[:2]]
        written = [array for layer in self._layers for array in layer.end_pass()] if self._cache.in_place else []
        return logits[:, -1], further, made, written

    def _take_pools(self, before: list[mx.array], made: list[mx.array]) -> None:
        """Tracing has left its own arrays in the layers."""
        now = made or before
        for layer, keys, values in zip(self._layers, now[::2], now[1::2], strict=True):
            layer.end_pass()
            layer.pools = Pools(keys, values)
