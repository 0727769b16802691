"""All that the rows of one model remember: page groups with their pools, recurrent states, and what can be shared.

Rules that hold after every public call: a page is referred to by exactly the sequences whose tables name it; a full block of
known tokens is findable by hash; memory never exceeds the planned budget.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as ReadOnlySequence
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import ArraysCache, CacheList, KVCache, RotatingKVCache, make_prompt_cache

from pomona.core.settings import EngineSettings
from pomona.engine.attention.choice import choose
from pomona.engine.attention.plans import Plans, padded_keys
from pomona.engine.attention.views import TRASH_PAGE, DecodeView, GroupView
from pomona.engine.cache.groups import PageGroup, Sight, make_groups
from pomona.engine.cache.layers import PagedLayer, PagePool, arrays_cache, equip
from pomona.engine.cache.prefix import SnapshotStore, extend_hashes
from pomona.engine.sequence import Sequence
from pomona.engine.states import RowState, stack_states


class ModelCache:
    """The cache of one model, made from a look at what its own layers keep."""

    def __init__(self, model: nn.Module, settings: EngineSettings, budget_bytes: int) -> None:
        self.page_tokens = settings.page_tokens
        self.share = settings.prefix_cache
        self.snapshots = SnapshotStore(settings.recurrent_snapshot_bytes)
        self._model = model
        self._probe = _probe(model)
        leaves = list(_leaves(self._probe))
        self.opaque = not all(_is_known(leaf) for leaf in leaves)
        """Some layer keeps something unknown: rows run alone, with mlx-lm's own caches, and share nothing."""
        self._layers = [] if self.opaque else [_paged_layer(leaf, settings) for leaf in leaves]
        self.groups = make_groups(self._by_sight(leaves, settings), settings, budget_bytes)
        for group in self.groups:
            if not group.sight.sinks:  # the kernels take pages that follow one another
                equip(group.layers, choose(settings.kernels))
        states = [] if self.opaque else [tuple(mx.zeros_like(a) for a in _arrays(leaf)) for leaf in leaves if type(leaf) is ArraysCache]
        self.zero_state = RowState(tuple(states), 0) if states else None
        self._plans = Plans()
        self.committed: Callable[[Sequence], None] | None = None
        """Is told of rows that may have new blocks to share."""

    @property
    def recurrent(self) -> bool:
        """Some layer keeps a state instead of positions."""
        return self.zero_state is not None

    @property
    def in_place(self) -> bool:
        """Passes write where the pages lie, and need not wait until the one before has let go of them."""
        return bool(self.groups) and all(layer.in_place for group in self.groups for layer in group.layers)

    @property
    def page_bytes(self) -> int:
        """Bytes of one page in every group."""
        return sum(group.page_bytes for group in self.groups)

    @property
    def nbytes(self) -> int:
        """Bytes allocated now, pools and snapshots."""
        return sum(group.page_bytes * group.allocator.capacity for group in self.groups) + self.snapshots.nbytes

    def longest_row(self) -> int:
        """Tokens that one row alone could hold."""
        limits = [group.allocator.limit - 1 for group in self.groups if group.window is None]
        return min(limits) * self.page_tokens if limits else 2**31

    def match(self, row: Sequence) -> int:
        """Blocks at the row's beginning that need not be computed; at least one token always remains to be."""
        if not self.share or self.opaque:
            return 0
        hashes = self.hashes(row)
        return next((blocks for blocks in range(self._leading(hashes), 0, -1) if self._is_complete(hashes[:blocks])), 0)

    def hashes(self, row: Sequence) -> list[bytes]:
        """Of the blocks at the row's beginning that need not be computed if somebody has them."""
        self._extend_hashes(row)
        return row.block_hashes[: row.reusable // self.page_tokens]

    def adopt(self, row: Sequence, blocks: int) -> None:
        """Refer to the pages of the first `blocks` blocks, as found by `match`."""
        row.tables = []
        for group in self.groups:
            table = [TRASH_PAGE] * blocks
            for block in group.sight.needed(blocks, self.page_tokens):
                table[block] = cast("int", group.allocator.find(row.block_hashes[block]))
                group.allocator.hold(table[block])
            row.tables.append(table)
        row.computed = blocks * self.page_tokens
        row.indexed_blocks = blocks
        row.state = self.snapshots.get(row.block_hashes[blocks - 1]) if blocks and self.recurrent else None

    def reserve(self, row: Sequence, tokens: int, *, windows: bool) -> bool:
        """Make room for the row's first `tokens` tokens; False, and nothing changed, if there is none.

        Groups with a window are left out unless `windows`: they get their pages chunk by chunk, as the window moves on.
        """
        blocks = -(-tokens // self.page_tokens)
        needs = [blocks - len(t) if windows or g.window is None else 0 for g, t in zip(self.groups, row.tables, strict=True)]
        if any(need > group.allocator.available for group, need in zip(self.groups, needs, strict=True)):
            return False
        for group, table, need in zip(self.groups, row.tables, needs, strict=True):
            for _ in range(need):
                table.append(group.allocator.allocate(table[-1] if table else None))
        return True

    def missing(self, row: Sequence, tokens: int) -> int:
        """Pages that `reserve` would take from the fullest group."""
        blocks = -(-tokens // self.page_tokens)
        return max((blocks - len(t) for g, t in zip(self.groups, row.tables, strict=True) if g.window is None), default=0)

    @property
    def available(self) -> int:
        """Pages that every group could still hand out."""
        return min((group.allocator.available for group in self.groups), default=2**31)

    def commit(self, row: Sequence) -> None:
        """Index full blocks whose tokens are known and computed; let go of what windows have left behind."""
        if self.share and not self.opaque:
            blocks = min(row.computed, len(row.tokens)) // self.page_tokens
            if blocks > len(row.block_hashes):
                self._extend_hashes(row)
            for block in range(row.indexed_blocks, blocks):
                for group, table in zip(self.groups, row.tables, strict=True):
                    if table[block] != TRASH_PAGE:
                        group.allocator.index(table[block], row.block_hashes[block])
            row.indexed_blocks = max(row.indexed_blocks, blocks)
            self._keep_checkpoint(row)
            if self.committed is not None:
                self.committed(row)
        for group, table in zip(self.groups, row.tables, strict=True):
            self._trim(group, table, row.computed)

    def roll_back(self, row: Sequence, tokens: int) -> None:
        """The last `tokens` computed ones were guesses that turned out wrong: give back the pages behind the others."""
        row.computed -= tokens
        blocks = -(-row.computed // self.page_tokens)
        for group, table in zip(self.groups, row.tables, strict=True):
            group.allocator.release(reversed(table[blocks:]))
            del table[blocks:]

    @property
    def rolls_back(self) -> bool:
        """Tokens can be taken back: nothing but positions is kept."""
        return not self.opaque and not self.recurrent

    def checkpoint(self, row: Sequence) -> list[mx.array]:
        """Copy the recurrent state of a row that stands at the end of a block; the copies, not computed yet."""
        if not self.share or row.state is None or row.computed % self.page_tokens:
            return []
        row.checkpoint = (row.computed, row.state.alone())
        return [array for layer in row.checkpoint[1].arrays for array in layer]

    def release(self, row: Sequence) -> None:
        """Let go of everything the row holds."""
        for group, table in zip(self.groups, row.tables, strict=bool(row.tables)):  # a waiting row has no tables
            group.allocator.release(page for page in reversed(table) if page != TRASH_PAGE)
        row.tables = []
        row.state = row.checkpoint = None
        row.private_caches = None
        row.computed = row.indexed_blocks = 0

    def begin_pass(self, rows: ReadOnlySequence[Sequence], starts: list[int], counts: list[int], width: int = 0) -> list[Any]:
        """The `cache` argument for the model: `counts[i]` new tokens of `rows[i]`, from position `starts[i]`, padded to the right, to
        `width` if that is more than the longest.
        """
        if self.opaque:
            row = rows[0]
            row.private_caches = row.private_caches or make_prompt_cache(self._model)
            return row.private_caches
        for index, group in enumerate(self.groups):
            group.fit_pools()
            view = self._view(group, [row.tables[index] for row in rows], starts, counts, width)
            view.chained = len(set(map(id, rows))) < len(rows)
            for layer in group.layers:
                layer.view = view
        states = iter(stack_states([row.state or self.zero_state for row in rows]) if self.zero_state else ())
        leaves = iter([layer or arrays_cache(next(states)) for layer in self._layers])
        return [_rebuild(entry, leaves) for entry in self._probe]

    @property
    def traceable(self) -> bool:
        """A pass needs to know of its rows nothing but what arrays tell: there are pages alone, and kernels for all of them."""
        layers = [layer for group in self.groups for layer in group.layers]
        return bool(layers) and not self.recurrent and all(layer.kernels is not None and layer.kernels.traceable for layer in layers)

    def begin_decode(self, views: ReadOnlySequence[DecodeView]) -> list[Any]:
        """The `cache` argument for one token per row, of rows that stand where `views` say, by group."""
        for group, view in zip(self.groups, views, strict=True):
            for layer in group.layers:
                layer.view = view
        leaves = iter(self._layers)
        return [_rebuild(entry, leaves) for entry in self._probe]

    def end_pass(self, rows: ReadOnlySequence[Sequence], caches: list[Any]) -> list[mx.array]:
        """Take back what the model wrote; the arrays that hold it, not computed yet."""
        if self.opaque:
            return [array for leaf in _leaves(caches) for array in _arrays(leaf)]
        states = tuple(tuple(_arrays(leaf)) for leaf in _leaves(caches) if isinstance(leaf, ArraysCache))
        for index, row in enumerate(rows):
            row.state = RowState(states, index) if states else None
        written = [array for state in states for array in state]
        for group in self.groups:
            for layer in group.layers:
                written += layer.end_pass()
        return written

    def shrink(self) -> None:
        """Forget what is kept only for later prompts."""
        self.snapshots.clear()
        for group in self.groups:
            group.shrink()

    def check_integrity(self, rows: Iterable[Sequence], held: Callable[[int], Iterable[int]] = lambda _: ()) -> None:
        """Raise AssertionError if a page leaked or is counted wrongly. `held`: by group, pages that are held for no row yet."""
        alive = [row for row in rows if row.tables]
        for index, group in enumerate(self.groups):
            references = Counter(page for row in alive for page in row.tables[index] if page != TRASH_PAGE)
            references.update(held(index))
            group.allocator.check_integrity(dict(references))

    def _extend_hashes(self, row: Sequence) -> None:
        content = row.pictures.content if row.pictures else None
        extend_hashes(row.block_hashes, row.tokens, self.page_tokens, row.root, content)

    def _leading(self, hashes: list[bytes]) -> int:
        """Blocks from the first on that every group without a window still has."""
        whole = [group.allocator for group in self.groups if group.window is None]
        missing = (index for index, block in enumerate(hashes) if any(pages.find(block) is None for pages in whole))
        return next(missing, len(hashes))

    def _is_complete(self, hashes: list[bytes]) -> bool:
        """Whether a row can go on behind these blocks: with what its windows see there, and with the recurrent state."""
        if self.recurrent and hashes[-1] not in self.snapshots:
            return False
        needed = [(group.allocator, group.sight.needed(len(hashes), self.page_tokens)) for group in self.groups if group.window is not None]
        return all(pages.find(hashes[block]) is not None for pages, blocks in needed for block in blocks)

    def _by_sight(self, leaves: list[Any], settings: EngineSettings) -> dict[Sight, list[PagedLayer]]:
        """The layers by what they see. A window of the settings is for those that would see all."""
        whole = Sight(settings.attention_window, settings.attention_sinks) if settings.attention_window else Sight()
        found: dict[Sight, list[PagedLayer]] = {}
        for leaf, layer in zip(leaves, self._layers, strict=False):
            if layer is not None:
                found.setdefault(Sight(leaf.max_size) if _is_window(leaf) else whole, []).append(layer)
        return found

    def _keep_checkpoint(self, row: Sequence) -> None:
        if row.checkpoint is not None and row.checkpoint[0] <= len(row.tokens):
            tokens, state = row.checkpoint
            self.snapshots.put(row.block_hashes[tokens // self.page_tokens - 1], state)
            row.checkpoint = None

    def _trim(self, group: PageGroup, table: list[int], computed: int) -> None:
        behind = min(group.first_block(computed, self.page_tokens), len(table))
        if not behind or table[behind - 1] == TRASH_PAGE:
            return
        left = [block for block in range(group.sight.sink_blocks(self.page_tokens), behind) if table[block] != TRASH_PAGE]
        group.allocator.release(table[block] for block in left)
        for block in left:
            table[block] = TRASH_PAGE

    def _view(self, group: PageGroup, tables: list[list[int]], starts: list[int], counts: list[int], width: int) -> GroupView:
        size, padded = self.page_tokens, width if width > max(counts) else 0
        firsts = [group.first_block(start, size) for start in starts]
        ends = [-(-(start + count) // size) for start, count in zip(starts, counts, strict=True)]
        planned = self._planned_keys(group, starts, max(padded, *counts))
        least = planned // size if planned else 0
        spare = [max(-(-(start + padded) // size), least) - end if padded or least else 0 for start, end in zip(starts, ends, strict=True)]
        places = zip(tables, firsts, ends, spare, strict=True)
        kept = group.sight.sink_blocks(size)
        return GroupView(
            window=group.window,
            sinks=group.sight.sinks,
            page_tokens=size,
            starts=starts,
            counts=counts,
            first_blocks=firsts,
            seen=[table[: min(kept, first)] + table[first:end] + [TRASH_PAGE] * more for table, first, end, more in places],
            offset=starts[0] if len(tables) == 1 else mx.array(starts),
            gathers=group.layers[0].kernels is not None,
            planned=planned > 0,
            whole_blocks=0 < planned != starts[0] + max(padded, *counts),
            padded=padded,
        )

    def _planned_keys(self, group: PageGroup, starts: list[int], width: int) -> int:
        """Keys of each row where MLX's own attention is to take what kernels could; else 0."""
        kernels = group.layers[0].kernels
        if group.window is not None or kernels is None or kernels.takes_chunks or width == 1:
            return 0
        keys = padded_keys(width, max(starts) + width)
        pairs = sum(width * (start + width / 2) for start in starts)
        return keys if self._plans.pay((len(starts), width, keys), pairs) else 0


def _probe(model: nn.Module) -> list[Any]:
    """The model's own caches after one token: kinds, shapes and types of all that it keeps."""
    caches: list[Any] = make_prompt_cache(model)
    logits = cast("mx.array", cast("Any", model)(mx.array([[0]]), cache=caches))
    mx.eval(logits, [array for leaf in _leaves(caches) for array in _arrays(leaf)])
    return caches


def _leaves(caches: Iterable[Any]) -> Iterator[Any]:
    for entry in caches:
        if isinstance(entry, CacheList):
            yield from _leaves(cast("tuple[Any, ...]", entry.caches))
        else:
            yield entry


def _rebuild(entry: Any, leaves: Iterator[Any]) -> Any:
    """The structure of `entry` with its leaves replaced in order."""
    if isinstance(entry, CacheList):
        return CacheList(*(_rebuild(inner, leaves) for inner in cast("tuple[Any, ...]", entry.caches)))
    return next(leaves)


def _arrays(leaf: Any) -> list[mx.array]:
    kept = cast("Any", leaf).cache if isinstance(leaf, ArraysCache) else (getattr(leaf, "keys", None), getattr(leaf, "values", None))
    return [array for array in cast("Iterable[object]", kept) if isinstance(array, mx.array)]


def _is_known(leaf: Any) -> bool:
    if type(leaf) is ArraysCache:
        return len(_arrays(leaf)) == len(cast("list[object]", leaf.cache))
    return (type(leaf) is KVCache or _is_window(leaf)) and bool(_arrays(leaf))


def _is_window(leaf: Any) -> bool:
    return type(leaf) is RotatingKVCache and cast("int", leaf.keep) == 0


def _paged_layer(leaf: Any, settings: EngineSettings) -> PagedLayer | None:
    """None for recurrent layers."""
    if type(leaf) is ArraysCache:
        return None
    keys, values = _arrays(leaf)
    return PagedLayer(
        PagePool(keys.shape[1], keys.shape[3], keys.dtype, settings.page_tokens, settings.kv_bits),
        PagePool(values.shape[1], values.shape[3], values.dtype, settings.page_tokens, settings.kv_bits),
    )
