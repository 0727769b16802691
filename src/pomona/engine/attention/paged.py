"""The operations on pages that kernels do: attend with one token per row, write tokens, gather what a row sees.

`Reference` says in plain MLX what each means. It makes new pools; kernels (`cuda.py`, `metal.py`) write into the pool that is there,
behind MLX's back, so that no pass need wait until the one before has let go of it. MLX orders work by what depends on what, and does
not see such writes. So each write returns an array, `Pools.after`, which every later reading in the same pass must take as an input;
passes on CUDA run one after the other.

For a compiled decode pass: give each group's layers a `DecodeView`; pass `PagedLayer.pools` of all layers in and out of the compiled
function if not `PagedLayer.in_place` (if it is, pools stay the same arrays until the cache grows; then compile anew or pass them in).
"""

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import mlx.core as mx

from pomona.engine.attention.views import Place


class Pools(NamedTuple):
    """Keys and values of one layer, (heads, pages, page_tokens, dim) each, and the write that must come before they are read."""

    keys: mx.array
    values: mx.array
    after: mx.array | None = None


@dataclass(slots=True, frozen=True, kw_only=True, eq=False)
class DecodeStep:
    """One token per row. `queries` (rows, query_heads, 1, dim); `new` keys and values (rows, heads, 1, dim), None if the pools have
    them already. `sinks` (query_heads,): one more logit each, that takes weight and gives nothing (gpt-oss). `limit`: the window, if any.
    """

    queries: mx.array
    new: tuple[mx.array, mx.array] | None
    pools: Pools
    place: Place
    scale: float
    limit: int | None = None
    sinks: mx.array | None = None
    tokens: int = 1
    """More: so many neighbours of a row make one, at the place of the last of them, with their heads one behind the other for each key
    head, and without a limit; see `attend_chunk`."""


class Kernels(Protocol):
    """One way to do the operations."""

    in_place: bool
    """Pools are written where they lie; those that go in come out."""
    traceable: bool
    """They take arrays that are not computed yet, so that a pass can be compiled."""
    takes_chunks: bool
    """`attend` takes any number of tokens per row as they are, (rows, query_heads, tokens, dim), with a limit or without."""
    heads_at_once: int
    """Else: query heads of a key head that go through the keys together, so that chunks go by `attend_chunk`; 0: single tokens only."""

    def attend(self, step: DecodeStep) -> tuple[mx.array, Pools]:
        """(rows, query_heads, 1, values' dim): softmax over the keys up to and with the new one. The new one is written."""
        ...

    def write(self, pools: Pools, keys: mx.array, values: mx.array, place: Place) -> Pools:
        """Put (rows, heads, tokens, dim) to their places. Padding, tokens behind a row's count, may go to the trash page or nowhere."""
        ...

    def gather(self, pools: Pools, place: Place, first: int, tokens: int) -> tuple[mx.array, mx.array]:
        """(rows, heads, tokens, dim) each: keys and values from the `first` one in the table on."""
        ...


class Choosy(Kernels, Protocol):
    """Kernels that do not take every shape."""

    def takes(self, pools: Pools) -> bool:
        """Whether they can do all of the operations on such pools."""
        ...


class Reference:
    """In plain MLX, on any device. Sums are in float32."""

    in_place = False
    traceable = True
    takes_chunks = False
    heads_at_once = 16

    def takes(self, pools: Pools) -> bool:
        """All of them."""
        del pools
        return True

    def attend(self, step: DecodeStep) -> tuple[mx.array, Pools]:
        """See `Kernels`."""
        pools = step.pools if step.new is None else self.write(step.pools, *step.new, step.place)
        rows, query_heads, _, dim = step.queries.shape
        heads, blocks = pools.keys.shape[0], step.place.table.shape[1]
        keys, values = self.gather(pools, step.place, 0, blocks * step.place.page_tokens)
        queries = step.queries.astype(mx.float32).reshape(rows, heads, query_heads // heads, dim) * step.scale
        scores = queries @ keys.astype(mx.float32).swapaxes(2, 3)  # (rows, heads, repeats, keys)
        ahead = mx.repeat(mx.arange(step.tokens - 1, -1, -1), scores.shape[2] // step.tokens)  # tokens of the row behind each head's
        earlier = step.place.key_positions()[:, None, None] <= (step.place.starts[:, None] - ahead)[:, None, :, None]
        scores = mx.where(step.place.visible(1, step.limit)[:, None] & earlier, scores, -mx.inf)
        if step.sinks is not None:
            column = step.sinks.astype(mx.float32).reshape(1, heads, query_heads // heads, 1)
            scores = mx.concatenate([mx.broadcast_to(column, (*scores.shape[:3], 1)), scores], axis=-1)
        weights = mx.softmax(scores, axis=-1)[..., -keys.shape[2] :]
        mixed = weights @ values.astype(mx.float32)
        return mixed.reshape(rows, query_heads, 1, values.shape[-1]).astype(step.queries.dtype), pools

    def write(self, pools: Pools, keys: mx.array, values: mx.array, place: Place) -> Pools:
        """See `Kernels`."""
        pages, slots = place.slots(keys.shape[2])
        return Pools(_scattered(pools.keys, keys, pages, slots), _scattered(pools.values, values, pages, slots))

    def gather(self, pools: Pools, place: Place, first: int, tokens: int) -> tuple[mx.array, mx.array]:
        """See `Kernels`."""
        return _gathered(pools.keys, place.table, first, tokens), _gathered(pools.values, place.table, first, tokens)


def attend_chunk(kernels: Kernels, step: DecodeStep, memo: dict[object, mx.array]) -> tuple[mx.array, Pools]:
    """As `Kernels.attend`, for `queries` (rows, query_heads, width, dim) whose keys the pools have: causal, without a limit.

    `step.tokens`, which divides the width, are taken together, so that keys are read once for all of them. `memo` is of the pass.
    """
    rows, query_heads, width, dim = step.queries.shape
    heads, tokens = step.pools.keys.shape[0], step.tokens
    repeats, groups = query_heads // heads, width // tokens
    key = ("chunk", tokens)
    if key not in memo:
        ends = step.place.starts[:, None] + mx.arange(tokens - 1, width, tokens)
        memo[key], memo[key, "table"] = ends.reshape(-1).astype(mx.int32), mx.repeat(step.place.table, groups, axis=0)
    place = replace(step.place, table=memo[key, "table"], starts=memo[key], counts=None)
    queries = step.queries.reshape(rows, heads, repeats, groups, tokens, dim).transpose(0, 3, 1, 4, 2, 5)
    sinks = None if step.sinks is None else mx.repeat(step.sinks.reshape(heads, 1, repeats), tokens, axis=1).reshape(-1)
    lone = replace(step, queries=queries.reshape(rows * groups, -1, 1, dim), place=place, sinks=sinks)
    mixed, pools = kernels.attend(lone)
    mixed = mixed.reshape(rows, groups, heads, tokens, repeats, -1).transpose(0, 2, 4, 1, 3, 5)
    return mixed.reshape(rows, query_heads, width, -1), pools


def _scattered(pool: mx.array, tokens: mx.array, pages: mx.array, slots: mx.array) -> mx.array:
    changed = pool[:]  # an array of its own: assignment changes the object, not what others see
    changed[:, pages, slots] = tokens.transpose(1, 0, 2, 3).astype(pool.dtype)
    return changed


def _gathered(pool: mx.array, table: mx.array, first: int, tokens: int) -> mx.array:
    picked = mx.take(pool, table, axis=1)  # (heads, rows, blocks, page_tokens, dim)
    return picked.reshape(*picked.shape[:2], -1, picked.shape[-1]).swapaxes(0, 1)[:, :, first : first + tokens]
