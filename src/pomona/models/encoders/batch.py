"""Texts of one pass side by side, without padding: one long array of tokens, and where each text lies in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import mlx.core as mx
import numpy as np

from pomona.models.cpu.kernels import Spans


@dataclass(frozen=True, slots=True, kw_only=True)
class TextIds:
    """One input in ids. Of a pair, the second text begins at `second`; the first `prompt` tokens are an instruction."""

    ids: Sequence[int]
    second: int | None = None
    prompt: int = 0


class Batch:
    """The tokens of `texts`, in order. None of them is empty."""

    def __init__(self, texts: Sequence[TextIds]) -> None:
        self.texts = texts
        lengths = np.array([len(text.ids) for text in texts], np.int32)
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int32)
        self.spans = Spans(starts=starts, lengths=lengths)
        self._ids = np.concatenate([np.asarray(text.ids, np.int32) for text in texts])
        self.longest = int(lengths.max())

    @property
    def count(self) -> int:
        """Tokens of all texts."""
        return len(self._ids)

    @cached_property
    def ids(self) -> mx.array:
        """(tokens,)."""
        return mx.array(self._ids)

    @cached_property
    def positions(self) -> mx.array:
        """(tokens,): 0, 1, 2, … in each text."""
        return mx.array(self._places)

    @cached_property
    def types(self) -> mx.array:
        """(tokens,): 1 in the second texts of pairs, else 0."""
        seconds = [len(text.ids) if text.second is None else text.second for text in self.texts]
        return mx.array((self._places >= np.repeat(np.array(seconds, np.int32), self.spans.lengths)).astype(np.int32))

    @cached_property
    def first(self) -> mx.array:
        """(texts,): where each text begins."""
        return mx.array(self.spans.starts)

    @cached_property
    def last(self) -> mx.array:
        """(texts,): where each text's last token is."""
        return mx.array(self.spans.starts + self.spans.lengths - 1)

    @cached_property
    def grid(self) -> mx.array:
        """(texts, longest): where the tokens of each text are; behind its end, its last one."""
        inside = np.minimum(np.arange(self.longest, dtype=np.int32), self.spans.lengths[:, None] - 1)
        return mx.array(self.spans.starts[:, None] + inside)

    @cached_property
    def held(self) -> mx.array:
        """(texts, longest): whether there is a token of the text."""
        return mx.arange(self.longest)[None] < mx.array(self.spans.lengths)[:, None]

    @cached_property
    def ungrid(self) -> mx.array:
        """(tokens,): where each token is in a grid, row by row."""
        rows = np.repeat(np.arange(len(self.texts), dtype=np.int32), self.spans.lengths)
        return mx.array(rows * self.longest + self._places)

    def positions_without(self, token: int) -> mx.array:
        """(tokens,): 1, 2, 3, … over the tokens of each text that are not `token`, and 0 for those that are (fairseq's positions)."""
        counted = np.cumsum(self._ids != token)
        before = counted[self.spans.starts] - (self._ids[self.spans.starts] != token)
        return mx.array(((counted - np.repeat(before, self.spans.lengths)) * (self._ids != token)).astype(np.int32))

    @cached_property
    def _places(self) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        return np.arange(self.count, dtype=np.int32) - np.repeat(self.spans.starts, self.spans.lengths)
