"""Forward passes: rows in, chosen tokens out, nothing computed until `start`.

A prefill pass only fills caches: its logits are never computed, since lazy evaluation stops at the last layer's keys. The
last known token of every row is the input of a decode pass, which is the only place where tokens are chosen.

Where a row's choice depends on tokens that are still on the device, a pass has two parts: `forward` is started, the host reads
them, and `choose` adds the rest while the device works.

The next pass is built while one runs. Where kernels write pages in place it is also started while that one runs (`ahead`), and the
device goes from one to the other. Elsewhere it is started when that one has finished, since starting earlier would cost a copy of
every pool: MLX itself writes in place only when nobody can still read the old content.
"""

from collections.abc import Callable
from collections.abc import Sequence as ReadOnlySequence
from contextlib import nullcontext
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from pomona.engine.adapters.bank import AdapterBank
from pomona.engine.attention.views import GroupView
from pomona.engine.cache.model_cache import ModelCache
from pomona.engine.grammar.masks import Masks
from pomona.engine.passes.compiled import CompiledDecode
from pomona.engine.passes.lines import padded_tokens
from pomona.engine.passes.work import Pass
from pomona.engine.sampling import PenaltyTable, needs_penalties, sample
from pomona.engine.scheduling.reading import SHORT_CHUNK
from pomona.engine.scores import score
from pomona.engine.sequence import Sequence
from pomona.engine.vision.vision import PassWork, Vision


class Runner:
    """Builds and starts the passes of one model."""

    def __init__(self, model: nn.Module, cache: ModelCache, vocabulary: int, vision: Vision | None = None) -> None:
        self._model = model
        self._vision = vision
        self._cache = cache
        self._penalties = PenaltyTable(vocabulary)
        self.batches = not cache.opaque
        """Rows may share a pass; `prove_batching` finds out."""
        self.ahead = False
        """A pass is started while the one before it runs."""
        self.compiled: CompiledDecode | None = None
        """Decode passes are replayed where it takes them."""
        self.adapters: AdapterBank | None = None
        self.part: Callable[[int, int, int], None] | None = None
        """Passes are computed in parts, and it is told before each: its number, how many of them layers write, and how many there are."""

    def compile(self) -> None:
        """Replay decode passes from now on. The cache must be traceable."""
        self.compiled = CompiledDecode(self._model, self._cache)

    def decode_groups(self, rows: list[Sequence]) -> list[list[Sequence]]:
        """Rows that share a decode pass."""
        return [rows] if self.batches and rows else [[row] for row in rows]

    def prefill_groups(self, chunks: list[tuple[Sequence, int]]) -> list[list[tuple[Sequence, int]]]:
        """Chunks that share a prefill pass: short ones of similar length. Recurrent states would see the padding."""
        if not self.batches or self._cache.recurrent:
            return [[chunk] for chunk in chunks]
        groups: list[list[tuple[Sequence, int]]] = [[chunk] for chunk in chunks if chunk[0].wants_scores]
        for chunk in sorted((chunk for chunk in chunks if not chunk[0].wants_scores), key=lambda entry: -entry[1]):
            if groups and groups[-1][0][1] <= min(SHORT_CHUNK, 2 * chunk[1]) and not groups[-1][0][0].wants_scores:
                groups[-1].append(chunk)
            else:
                groups.append([chunk])
        return groups

    def decode(self, rows: list[Sequence]) -> Pass:
        """Compute each row's last token and choose the next."""
        work = self.forward(rows)
        self.choose(work)
        return work

    def forward(self, rows: list[Sequence]) -> Pass:
        """Compute each row's last token; `choose` is to follow."""
        logits, written = self._next_logits(rows)
        return Pass(rows, written=written, logits=logits)

    def forward_guesses(self, rows: list[Sequence]) -> Pass:
        """Compute each row's last token and its guesses; `choose` is to follow, for the next token behind each of them.

        Each guess is a line of its own, as if it were a row that shares pages: nothing is padded, and attention stays on the
        kernels of decoding. A lone row has MLX's own attention over its consecutive pages instead.
        """
        work = Pass(rows, [row.guesses for row in rows])
        lines, ahead = work.lines, work.ahead
        ids = mx.array([token for row in rows for token in (row.tokens[-1], *row.guesses)])
        if len(rows) == 1:
            logits, work.written = self._forward(rows, [len(lines)], ids[None])
            work.logits = logits[0]
        else:
            starts = [row.computed + len(before) for row, before in zip(lines, ahead, strict=True)]
            logits, work.written = self._forward(lines, [1] * len(lines), ids[:, None], starts)
            work.logits = logits[:, -1]
        return work

    def choose(self, work: Pass, masks: Masks | None = None) -> None:
        """Choose the next tokens of a pass that `forward` made, whether or not it was started."""
        if work.logits is None:
            raise RuntimeError("tokens are chosen once, in a pass that decodes")
        for row in work.rows:
            if needs_penalties(row.prompt.sampling) and not row.penalty_slot and not row.finished:
                self._penalties.open(row)
        work.sampled = sample(work.logits, work.lines, self._penalties, masks, work.ahead)
        work.logits = None
        if work.guesses:
            for row in work.rows:
                row.pending += 1
            return
        if any(row.penalty_slot for row in work.rows):
            work.written += self._penalties.count(work.sampled.tokens, work.rows)
        for index, row in enumerate(work.rows):
            row.pending += 1
            row.pending_token = (work.sampled.tokens, index)

    def prefill(self, chunks: list[tuple[Sequence, int]]) -> Pass:
        """Compute the next tokens of prompts."""
        rows, counts = [row for row, _ in chunks], [count for _, count in chunks]
        starts, scoring = [row.computed for row in rows], chunks[0][0].wants_scores
        pads = self._cache.traceable and not scoring and not any(row.pictures for row in rows)
        width = padded_tokens(max(counts)) if pads else max(counts)
        ids = np.zeros((len(rows), width), np.int32)
        for line, (row, count) in enumerate(chunks):
            ids[line, :count] = row.tokens[row.computed : row.computed + count]
        logits, written = self._forward(rows, counts, mx.array(ids))
        if not scoring:
            return Pass(rows, counts=counts, written=written)
        start, end = starts[0], starts[0] + counts[0]
        rows[0].scored = max(rows[0].scored, end)
        following = mx.array(rows[0].tokens[start + 1 : end + 1])
        scores = score(logits[0].astype(mx.float32), following, rows[0].prompt.prompt_logprobs or 0)
        return Pass(rows, counts=counts, written=written, scores=scores, scores_start=start)

    def logits(self, rows: list[Sequence]) -> mx.array:
        """(rows, vocabulary) after each row's last token, computed at once."""
        logits, written = self._next_logits(rows)
        mx.synchronize()
        mx.eval(logits, written)
        return logits

    def start(self, work: Pass) -> None:
        """Let the device begin this pass, behind the one before."""
        layers, arrays = len(work.written), work.take_arrays()
        if self.ahead:
            work.last_written = arrays[-1] if arrays else None
        else:
            mx.synchronize()
        if self.part is not None:
            for number, array in enumerate(arrays):
                self.part(number, layers, len(arrays))
                mx.eval(array)
        mx.async_eval(arrays)

    def go_on(self, work: Pass) -> None:
        """Let the device choose tokens, in a pass that was started before `choose`."""
        mx.async_eval(work.take_arrays())

    def wait(self, work: Pass | None) -> None:
        """Wait until `work` has run, which was started last or, where passes are started ahead, last but one."""
        if not self.ahead:
            mx.synchronize()
        elif work is not None and work.sampled is not None:
            mx.eval(work.sampled.arrays)
        elif work is not None and work.last_written is not None:
            mx.eval(work.last_written)

    def finish(self) -> None:
        """Wait for everything that was started."""
        mx.synchronize()

    def note(self, row: Sequence, tokens: list[int]) -> None:
        """Some of the tokens that a pass with guesses chose became the row's."""
        self._penalties.note(row, tokens)

    def forget(self, row: Sequence) -> None:
        """The row ends: free what the sampler keeps of it."""
        self._penalties.close(row)

    def _next_logits(self, rows: list[Sequence]) -> tuple[mx.array, list[mx.array]]:
        """(rows, vocabulary) after each row's last token, and what is written."""
        tokens = _input_tokens(rows)
        if self.compiled is None or not self.compiled.takes(rows):
            logits, written = self._forward(rows, [1] * len(rows), tokens[:, None])
            return logits[:, -1], written
        logits, written = self.compiled.forward(rows, tokens)
        for row in rows:
            row.computed += 1
        return logits, written

    def _forward(
        self, rows: list[Sequence], counts: list[int], ids: mx.array, starts: list[int] | None = None
    ) -> tuple[mx.array, list[mx.array]]:
        starts = starts or [row.computed for row in rows]
        caches = self._cache.begin_pass(rows, starts, counts, ids.shape[1])
        with self.adapters.chosen([row.adapter for row in rows], ids.shape[1]) if self.adapters else nullcontext():
            logits = self._call(rows, starts, counts, ids, caches)
        written = self._cache.end_pass(rows, caches)
        for row, count in zip(rows, counts, strict=True):
            row.computed += count
            written += self._cache.checkpoint(row)
        return logits, written

    def _call(self, rows: list[Sequence], starts: list[int], counts: list[int], ids: mx.array, caches: list[Any]) -> mx.array:
        if self._vision is None or not any(row.pictures for row in rows):
            return cast("mx.array", cast("Any", self._model)(ids, cache=caches))
        views = [view for group in self._cache.groups if isinstance(view := group.layers[0].present, GroupView)]
        return self._vision.call(self._model, PassWork(rows=rows, starts=starts, counts=counts, views=views), ids, caches)


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
