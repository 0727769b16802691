"""Forward passes: rows in, chosen tokens out, nothing computed until `start`.

A prefill pass only fills caches: its logits are never computed, since lazy evaluation stops at the last layer's keys. The
last known token of every row is the input of a decode pass, which is the only place where tokens are chosen.

One pass runs at a time; the next is built while it does and started as soon as it has finished. Starting earlier
would cost a copy of every pool: MLX writes in place only when nobody can still read the old content.
"""

from collections.abc import Sequence as ReadOnlySequence
from dataclasses import dataclass, field
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from pomona.engine.cache.model_cache import ModelCache
from pomona.engine.sampling import PenaltyTable, Sampled, needs_penalties, sample
from pomona.engine.sequence import Sequence

SHORT_CHUNK = 128
"""Prompt chunks up to this many tokens share a pass; longer ones fill the device alone and need no padding."""


@dataclass(slots=True, eq=False)
class Pass:
    """A forward pass that was built. `sampled` is None for prefill."""

    rows: list[Sequence]
    sampled: Sampled | None = None
    written: list[mx.array] = field(default_factory=list[mx.array])


class Runner:
    """Builds and starts the passes of one model."""

    def __init__(self, model: nn.Module, cache: ModelCache, vocabulary: int) -> None:
        self._model = model
        self._cache = cache
        self._penalties = PenaltyTable(vocabulary)
        self.batches = not cache.opaque
        """Rows may share a pass; `prove_batching` finds out."""

    def decode_groups(self, rows: list[Sequence]) -> list[list[Sequence]]:
        """Rows that share a decode pass."""
        return [rows] if self.batches and rows else [[row] for row in rows]

    def prefill_groups(self, chunks: list[tuple[Sequence, int]]) -> list[list[tuple[Sequence, int]]]:
        """Chunks that share a prefill pass: short ones of similar length. Recurrent states would see the padding."""
        if not self.batches or self._cache.recurrent:
            return [[chunk] for chunk in chunks]
        groups: list[list[tuple[Sequence, int]]] = []
        for chunk in sorted(chunks, key=lambda entry: -entry[1]):
            if groups and groups[-1][0][1] <= min(SHORT_CHUNK, 2 * chunk[1]):
                groups[-1].append(chunk)
            else:
                groups.append([chunk])
        return groups

    def decode(self, rows: list[Sequence]) -> Pass:
        """Compute each row's last token and choose the next."""
        inputs = _input_tokens(rows)
        logits, written = self._forward(rows, [1] * len(rows), inputs[:, None])
        for row in rows:
            if needs_penalties(row.prompt.sampling) and not row.penalty_slot:
                self._penalties.open(row)
        sampled = sample(logits[:, -1], rows, self._penalties)
        if any(row.penalty_slot for row in rows):
            written += self._penalties.count(sampled.tokens, rows)
        for index, row in enumerate(rows):
            row.pending += 1
            row.pending_token = (sampled.tokens, index)
        return Pass(rows, sampled, written)

    def prefill(self, chunks: list[tuple[Sequence, int]]) -> Pass:
        """Compute the next tokens of prompts."""
        rows, counts = [row for row, _ in chunks], [count for _, count in chunks]
        ids = np.zeros((len(rows), max(counts)), np.int32)
        for line, (row, count) in enumerate(chunks):
            ids[line, :count] = row.tokens[row.computed : row.computed + count]
        _, written = self._forward(rows, counts, mx.array(ids))
        return Pass(rows, None, written)

    def logits(self, rows: list[Sequence]) -> mx.array:
        """(rows, vocabulary) after each row's last token, computed at once."""
        logits, written = self._forward(rows, [1] * len(rows), _input_tokens(rows)[:, None])
        mx.synchronize()
        mx.eval(logits, written)
        return logits[:, -1]

    def start(self, work: Pass) -> None:
        """Wait for the pass before, then let the device begin this one."""
        mx.synchronize()
        arrays = work.written + (work.sampled.arrays if work.sampled else [])
        work.written = []
        mx.async_eval(arrays)

    def wait(self) -> None:
        """Wait until the pass that was started has run."""
        mx.synchronize()

    def forget(self, row: Sequence) -> None:
        """The row ends: free what the sampler keeps of it."""
        self._penalties.close(row)

    def _forward(self, rows: list[Sequence], counts: list[int], ids: mx.array) -> tuple[mx.array, list[mx.array]]:
        starts = [row.computed for row in rows]
        caches = self._cache.begin_pass(rows, starts, counts)
        logits = cast("mx.array", cast("Any", self._model)(ids, cache=caches))
        written = self._cache.end_pass(rows, caches)
        for row, count in zip(rows, counts, strict=True):
            row.computed += count
            written += self._cache.checkpoint(row)
        return logits, written


def _input_tokens(rows: ReadOnlySequence[Sequence]) -> mx.array:
    """(rows,): each row's last token, wherever it is: on the host, or still on the device."""
    pending = [row.pending_token for row in rows if row.pending_token]
    if not pending:
        return mx.array([row.tokens[-1] for row in rows])
    first = pending[0][0]
    if len(pending) == len(rows) == first.shape[0] and all(p[0] is first and p[1] == i for i, p in enumerate(pending)):
        return first
    known = mx.array([row.tokens[-1] for row in rows], dtype=mx.int32)
    sources = [known]
    places = list(range(len(rows)))
    offsets: dict[int, int] = {}
    end = len(rows)
    for line, row in enumerate(rows):
        if row.pending_token:
            array, index = row.pending_token
            if id(array) not in offsets:
                offsets[id(array)] = end
                sources.append(array)
                end += array.shape[0]
            places[line] = offsets[id(array)] + index
    return mx.concatenate(sources)[mx.array(places)]
