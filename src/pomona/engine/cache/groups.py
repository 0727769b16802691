"""Layers that remember alike share pages: what they see of a row, and how many pages they get of the budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mlx.core as mx

from pomona.core.errors import ConfigurationError
from pomona.core.settings import EngineSettings
from pomona.engine.cache.layers import PagedLayer
from pomona.engine.cache.memory import step_tokens
from pomona.engine.cache.pages import PageAllocator

LEAST_PAGES = 4
WINDOWS_KEPT = 2
"""Rows whose windows are kept for later prompts, for each row that can run."""


@dataclass(slots=True, frozen=True)
class Sight:
    """What a query sees: all before it, or the last `window` tokens with itself. The first `sinks` tokens stay in sight: models put the
    weight there that they need nowhere, and lose their way without (StreamingLLM, arXiv 2309.17453).
    """

    window: int | None = None
    sinks: int = 0

    def first_block(self, position: int, page_tokens: int) -> int:
        """First block from which on a query at `position` sees all; before it only the sinks, if any. 0 where nothing is left out."""
        first = 0 if self.window is None else max(0, position - self.window + 1) // page_tokens
        return first if first > self.sink_blocks(page_tokens) else 0

    def sink_blocks(self, page_tokens: int) -> int:
        """Blocks that hold the sinks."""
        return -(-self.sinks // page_tokens)

    def needed(self, blocks: int, page_tokens: int) -> list[int]:
        """Blocks that a row needs to go on behind its first `blocks` ones."""
        first = self.first_block(blocks * page_tokens, page_tokens)
        return [*range(min(first, self.sink_blocks(page_tokens))), *range(first, blocks)]


@dataclass(slots=True, frozen=True, eq=False)
class PageGroup:
    """Layers that need the same blocks."""

    sight: Sight
    layers: tuple[PagedLayer, ...]
    allocator: PageAllocator

    @property
    def window(self) -> int | None:
        """How far its queries see."""
        return self.sight.window

    @property
    def page_bytes(self) -> int:
        """Bytes of one page over all layers of the group."""
        return _page_bytes(self.layers)

    def shrink(self) -> None:
        """Let go of pages that nobody refers to, as far as they lie behind the others."""
        self.allocator.shrink()
        for layer in self.layers:
            for pool in (layer.key_pool, layer.value_pool):
                pool.resize(self.allocator.capacity)
                mx.eval(*pool.arrays)

    def fit_pools(self) -> None:
        """Grow the arrays to the allocator's capacity."""
        for layer in self.layers:
            for pool in (layer.key_pool, layer.value_pool):
                if pool.arrays[0].shape[1] < self.allocator.capacity:
                    pool.resize(self.allocator.capacity)

    def first_block(self, position: int, page_tokens: int) -> int:
        """As `Sight.first_block`."""
        return self.sight.first_block(position, page_tokens)


def make_groups(layers: Mapping[Sight, Sequence[PagedLayer]], settings: EngineSettings, budget_bytes: int) -> list[PageGroup]:
    """Groups that share `budget_bytes`. Raises ConfigurationError where that is too little for one row."""
    bytes_of = {sight: _page_bytes(own) for sight, own in layers.items()}
    pages = _divide(bytes_of, settings, budget_bytes)
    for sight, count in pages.items():
        least = LEAST_PAGES if sight.window is None or not sight.sinks else _row_pages(sight, settings)
        if count < least:
            raise ConfigurationError(
                f"A KV budget of {budget_bytes} bytes holds {count} pages of {bytes_of[sight]} bytes; at least {least} are needed. "
                "Raise engine.kv_cache_bytes or lower engine.page_tokens or engine.attention_window."
            )
    return [PageGroup(sight, tuple(own), PageAllocator(pages[sight])) for sight, own in layers.items()]


def _divide(bytes_of: Mapping[Sight, int], settings: EngineSettings, budget_bytes: int) -> dict[Sight, int]:
    """Pages by group: as many for each, but no more for a window than its rows can use; what is left over goes to the others."""
    pages = dict.fromkeys(bytes_of, budget_bytes // max(1, sum(bytes_of.values())))
    whole = [sight for sight in bytes_of if sight.window is None]
    if whole:
        for sight in bytes_of.keys() - set(whole):
            pages[sight] = min(pages[sight], 1 + (1 + WINDOWS_KEPT) * settings.max_rows * _row_pages(sight, settings))
        left = budget_bytes - sum(pages[sight] * size for sight, size in bytes_of.items() if sight not in whole)
        pages |= dict.fromkeys(whole, left // sum(bytes_of[sight] for sight in whole))
    return pages


def _row_pages(sight: Sight, settings: EngineSettings) -> int:
    """Most pages that a row holds at a time: sinks, window, the chunk that is computed, and a started page at both ends."""
    return sight.sink_blocks(settings.page_tokens) + -(-((sight.window or 0) + step_tokens(settings)) // settings.page_tokens) + 2


def _page_bytes(layers: Sequence[PagedLayer]) -> int:
    return sum(layer.key_pool.page_bytes + layer.value_pool.page_bytes for layer in layers)
