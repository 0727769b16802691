"""Who uses what in one pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np

from pomona.engine.adapters.terms import Owners, Term


@dataclass(slots=True, eq=False)
class Choice:
    """One pass: the place of each row's adapter, -1 for none, and the tokens of each row."""

    places: Sequence[int]
    tokens: int
    terms: Mapping[str, Term]
    uniform: bool = field(init=False)
    """All rows have the same adapter."""
    used: set[str] = field(default_factory=set[str])
    """Layers that were asked."""
    _masks: dict[Owners, mx.array] = field(default_factory=dict[Owners, mx.array])
    _indices: mx.array | None = None
    _entry_rows: mx.array | None = None

    def __post_init__(self) -> None:
        self.uniform = len(set(self.places)) == 1

    def masked(self, owners: Owners, values: mx.array, *, by_entry: bool = False) -> mx.array:
        """`values` (rows, ..., columns), 0 in the columns of other rows' adapters. `by_entry`: (entries, ..., columns), see `enter`."""
        if self.uniform and all(place == self.places[0] for place, _ in owners):
            return values
        return mx.where(self._spread(self._mask(owners), values, by_entry=by_entry), values, mx.zeros((), values.dtype))

    def gain(self, term: Term, like: mx.array) -> mx.array | None:
        """What DoRA multiplies the layer's own output `like` (rows, ..., outputs) with, less one."""
        if term.gains is None:
            return None
        if self.uniform:
            return term.gains[self.places[0]]
        return self._spread(term.gains[mx.array([place % term.gains.shape[0] for place in self.places])], like, by_entry=False)

    def enter(self, indices: mx.array) -> None:
        """A layer of experts is about to see tokens sorted by expert: `indices` (rows, tokens, k) says which ones each had chosen."""
        self._indices, self._entry_rows = indices, None

    def leave(self) -> None:
        """The layer of experts is done."""
        self._indices = self._entry_rows = None

    def _mask(self, owners: Owners) -> mx.array:
        """(rows, columns)"""
        if owners not in self._masks:
            columns = np.repeat([place for place, _ in owners], [count for _, count in owners])
            self._masks[owners] = mx.array(np.array(self.places)[:, None] == columns[None])
        return self._masks[owners]

    def _spread(self, lines: mx.array, like: mx.array, *, by_entry: bool) -> mx.array:
        """`lines` (rows, n) in the dimensions of `like`, whose first is the rows, or rows and tokens together. Raises ValueError."""
        if by_entry:
            lines = lines[self._rows_of_entries()]
        elif like.shape[0] == len(self.places) * self.tokens != len(self.places):
            lines = mx.repeat(lines, self.tokens, axis=0)
        if like.shape[0] != lines.shape[0]:
            raise ValueError(f"a layer sees {like.shape[0]} lines where there are {len(self.places)} rows of {self.tokens} tokens")
        return lines.reshape(lines.shape[0], *[1] * (like.ndim - 2), lines.shape[-1])

    def _rows_of_entries(self) -> mx.array:
        """(rows * tokens * k,): as mlx-lm's `_gather_sort` orders them."""
        if self._indices is None:
            raise ValueError("experts are sorted by a layer that is not known")
        if self._entry_rows is None:
            self._entry_rows = mx.argsort(self._indices.flatten()) // (self.tokens * self._indices.shape[-1])
        return self._entry_rows
