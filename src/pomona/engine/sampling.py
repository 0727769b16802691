"""Choosing the next token of every row at once: parameters are columns, rows with different ones share the batch.

Randomness is counter-based and made on the host: the draws of a row depend on its seed and on how many tokens it has made,
on nothing else. So the same seed gives the same text alone, in any batch, after preemption and on any device.

A token is the winner of a race: of candidates with weights w and draws E from the exponential distribution, the largest w / E
wins with a probability in proportion to w (Gumbel-max, Maddison et al. 2014, in the exponential form of Efraimidis and Spirakis
2006). Another batch shape rounds the weights otherwise; a race is then decided otherwise with the probability of that relative
error, where the inverse of the cumulative sum passes a thousand thresholds that all move. Two races, between blocks of the
vocabulary and inside the winner, take 2 sqrt(vocabulary) draws a row.
"""

from collections.abc import Sequence as ReadOnlySequence
from dataclasses import dataclass
from functools import lru_cache

import mlx.core as mx
import numpy as np

from pomona.core.generation import SamplingParams
from pomona.engine.grammar.masks import Masks
from pomona.engine.scores import Scores, asks_scores, score
from pomona.engine.sequence import Sequence

MASK_64 = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15
FRACTIONS = np.float32(2**-64), np.float32(1 - 2**-24)
"""The least and the largest that float32 tells from 0 and from 1."""
KEPT = 256
"""Small arrays of what rows ask for, each of some bytes a row."""


def draws(places: ReadOnlySequence[tuple[int, int]], count: int) -> np.ndarray:
    """(places, count) float32: 1 / E, E from the exponential distribution, for each pair of a seed and a counter.

    A pair is mixed into the state of a SplitMix64 stream (Steele et al. 2014), whose numbers are read as fractions of 2**64.
    """
    states = np.array([_splitmix(_splitmix(seed & MASK_64) ^ (position * GOLDEN & MASK_64)) for seed, position in places], np.uint64)
    numbers = states[:, None] + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    numbers ^= numbers >> np.uint64(31)
    fractions = np.clip(numbers.astype(np.float32) * np.float32(2**-64), *FRACTIONS)
    return -1 / np.log1p(-fractions)


@dataclass(slots=True, frozen=True, eq=False)
class Sampled:
    """What one pass chose, not read back yet. `scores` has one position for each of the rows `scored_rows`."""

    tokens: mx.array  # (rows,)
    scored_rows: tuple[int, ...] = ()
    scores: Scores | None = None

    @property
    def arrays(self) -> list[mx.array]:
        """All that must be computed."""
        return [self.tokens, *(self.scores.arrays if self.scores else [])]


class PenaltyTable:
    """What rows with penalties have seen: one line per slot, counted on the device as tokens are chosen. Slot 0 stays empty."""

    def __init__(self, vocabulary: int) -> None:
        self._vocabulary = vocabulary
        self._free: list[int] = []
        self._noted: list[tuple[int, int]] = []
        self.output_counts = mx.zeros((1, vocabulary), dtype=mx.int32)
        self.prompt_seen = mx.zeros((1, vocabulary), dtype=mx.bool_)

    def open(self, row: Sequence) -> None:
        """Give `row` a slot filled from its known tokens."""
        if not self._free:
            size = self.output_counts.shape[0]
            self.output_counts = mx.concatenate([self.output_counts, mx.zeros_like(self.output_counts)])
            self.prompt_seen = mx.concatenate([self.prompt_seen, mx.zeros_like(self.prompt_seen)])
            self._free = list(range(size, 2 * size))
        row.penalty_slot = self._free.pop()
        length = len(row.prompt.token_ids)
        counts = np.bincount(np.array(row.tokens[length:], np.int64), minlength=self._vocabulary)[: self._vocabulary]
        seen = np.zeros(self._vocabulary, np.bool_)
        seen[np.array(row.tokens[:length], np.int64)] = True
        self.output_counts[row.penalty_slot] = mx.array(counts.astype(np.int32))
        self.prompt_seen[row.penalty_slot] = mx.array(seen.view(np.uint8)).astype(mx.bool_)

    def close(self, row: Sequence) -> None:
        """Take the slot back."""
        if row.penalty_slot:
            self._free.append(row.penalty_slot)
            self._noted = [(slot, token) for slot, token in self._noted if slot != row.penalty_slot]
            row.penalty_slot = 0

    def note(self, row: Sequence, tokens: list[int]) -> None:
        """Count tokens that are known on the host, with the next pass."""
        if row.penalty_slot:
            self._noted += [(row.penalty_slot, token) for token in tokens]

    def apply(self, logits: mx.array, rows: ReadOnlySequence[Sequence], ahead: ReadOnlySequence[ReadOnlySequence[int]] = ()) -> mx.array:
        """Penalised logits (rows, vocabulary), where the tokens `ahead` of each row count as seen."""
        self._count_noted()
        slots = _indices_of(tuple(row.penalty_slot for row in rows))
        counts = self.output_counts[slots]
        guessed = [(line, token) for line, tokens in enumerate(ahead) if rows[line].penalty_slot for token in tokens]
        if guessed:
            counts = counts.at[_indices(guessed)].add(1)
        made = counts > 0
        params = [row.prompt.sampling for row in rows]
        repetition = _column([p.repetition_penalty for p in params])
        punished = mx.where(logits > 0, logits / repetition, logits * repetition)
        logits = mx.where(made | self.prompt_seen[slots], punished, logits)
        logits = logits - _column([p.frequency_penalty for p in params]) * counts
        return logits - _column([p.presence_penalty for p in params]) * made

    def count(self, tokens: mx.array, rows: ReadOnlySequence[Sequence]) -> list[mx.array]:
        """Add the chosen `tokens` (rows,) of the rows that have a slot."""
        indices = [i for i, row in enumerate(rows) if row.penalty_slot]
        slots = _indices_of(tuple(rows[i].penalty_slot for i in indices))
        self.output_counts = self.output_counts.at[slots, _take(tokens, indices)].add(1)
        return [self.output_counts]

    def _count_noted(self) -> None:
        if self._noted:
            self.output_counts = self.output_counts.at[_indices(self._noted)].add(1)
            self._noted = []


def needs_penalties(params: SamplingParams) -> bool:
    """Whether earlier tokens change the logits."""
    return params.repetition_penalty != 1 or params.presence_penalty != 0 or params.frequency_penalty != 0


def sample(
    logits: mx.array,
    rows: ReadOnlySequence[Sequence],
    table: PenaltyTable,
    masks: Masks | None = None,
    ahead: ReadOnlySequence[ReadOnlySequence[int]] = (),
) -> Sampled:
    """Choose one token per row from `logits` (rows, vocabulary), of those that `masks` allow.

    A row may come several times: each time it is that row with the guesses `ahead` of its line behind its tokens.
    """
    raw = logits.astype(mx.float32)
    params = [row.prompt.sampling for row in rows]
    changed = _add_bias(raw, params)
    if any(row.penalty_slot for row in rows):
        changed = table.apply(changed, rows, ahead)
    if masks is not None:
        changed = masks.apply(changed)
    tokens = mx.argmax(logits if changed is raw else changed, axis=-1)
    drawn = [i for i, p in enumerate(params) if p.temperature > 0]
    if drawn:
        counters = [_counter(rows[i], len(ahead[i]) if ahead else 0) for i in drawn]
        picked = _race(_take(changed, drawn), [params[i] for i in drawn], counters)
        tokens = picked if len(drawn) == len(rows) else _put(tokens, drawn, picked)
    return _with_scores(raw, tokens.astype(mx.int32), params)


def _counter(row: Sequence, ahead: int) -> tuple[int, int]:
    """What decides on the row's token behind those that are known, in flight, or guessed."""
    return row.seed, row.outputs + row.pending + ahead


def _race(logits: mx.array, params: ReadOnlySequence[SamplingParams], counters: ReadOnlySequence[tuple[int, int]]) -> mx.array:
    """Sampled tokens (rows,) at temperatures above 0."""
    weights = _cut(mx.softmax(logits / _column([p.temperature for p in params]), axis=-1), params)
    count, size = _blocks(weights.shape[-1])
    blocks = mx.pad(weights, [(0, 0), (0, count * size - weights.shape[-1])]).reshape(-1, count, size)
    chances = mx.array(draws(counters, count + size))
    block = mx.argmax(blocks.sum(axis=-1) * chances[:, :count], axis=-1)
    inside = mx.take_along_axis(blocks, block[:, None, None], axis=1)[:, 0]
    return block * size + mx.argmax(inside * chances[:, count:], axis=-1)


@lru_cache(maxsize=KEPT)
def _blocks(vocabulary: int) -> tuple[int, int]:
    """How many blocks, and tokens in each: about equal, so that both together are few."""
    size = 1 << ((vocabulary - 1).bit_length() + 1) // 2
    return -(-vocabulary // size), size


def _cut(weights: mx.array, params: ReadOnlySequence[SamplingParams]) -> mx.array:
    """Zero what top-k, top-p and min-p drop (rows, vocabulary); ties at a threshold are kept."""
    sorting = [i for i, p in enumerate(params) if p.top_p < 1 or 0 < p.top_k < weights.shape[-1]]
    if sorting:
        chosen = weights if len(sorting) == len(params) else _take(weights, sorting)
        floor = _rank_floor(chosen, [params[i] for i in sorting])
        cut = mx.where(chosen >= floor, chosen, 0)
        weights = cut if len(sorting) == len(params) else _put(weights, sorting, cut)
    if any(p.min_p > 0 for p in params):
        floor = weights.max(axis=-1, keepdims=True) * _column([p.min_p for p in params])
        weights = mx.where(weights >= floor, weights, 0)
    return weights


def _rank_floor(weights: mx.array, params: ReadOnlySequence[SamplingParams]) -> mx.array:
    """(rows, 1): the least weight that both top-k and top-p keep."""
    vocabulary = weights.shape[-1]
    ks = [p.top_k if 0 < p.top_k < vocabulary else vocabulary for p in params]
    most = max(ks)  # when every row has a top-k, only that many need to be sorted
    candidates = weights if most == vocabulary else mx.topk(weights, most, axis=-1)
    ranked = -mx.sort(-candidates, axis=-1)
    kept = mx.where(mx.arange(most) < _column(ks), ranked, 0)
    before = mx.cumsum(kept, axis=-1) - kept
    inside = before < kept.sum(axis=-1, keepdims=True) * _column([p.top_p for p in params])
    inside = inside & (kept > 0) | (mx.arange(most) == 0)  # the most likely token always stays
    return mx.where(inside, ranked, mx.inf).min(axis=-1, keepdims=True)


def _add_bias(logits: mx.array, params: ReadOnlySequence[SamplingParams]) -> mx.array:
    entries = [(i, token, bias) for i, p in enumerate(params) for token, bias in p.logit_bias.items()]
    if not entries:
        return logits
    lines, tokens, biases = zip(*entries, strict=True)
    return logits.at[mx.array(lines), mx.array(tokens)].add(mx.array(biases, dtype=mx.float32))


def _with_scores(raw: mx.array, tokens: mx.array, params: ReadOnlySequence[SamplingParams]) -> Sampled:
    asking = tuple(i for i, p in enumerate(params) if asks_scores(p))
    if not asking:
        return Sampled(tokens)
    most = max(params[i].logprobs or 0 for i in asking)
    asked = [params[i].logprob_token_ids for i in asking]
    return Sampled(tokens, asking, score(_take(raw, asking), _take(tokens, asking), most, asked))


def _indices(places: ReadOnlySequence[tuple[int, int]]) -> tuple[mx.array, mx.array]:
    """(line, token) pairs as an index of two columns."""
    lines, tokens = zip(*places, strict=True)
    return mx.array(lines), mx.array(tokens)


def _column(values: ReadOnlySequence[float]) -> mx.array:
    return _uploaded(tuple(values))


@lru_cache(maxsize=KEPT)
def _uploaded(values: tuple[float, ...]) -> mx.array:
    """What rows ask for stays the same from pass to pass, and an upload costs a GPU more than it costs to look here."""
    return mx.array(np.array(values, np.float32)[:, None])


@lru_cache(maxsize=KEPT)
def _indices_of(values: tuple[int, ...]) -> mx.array:
    return mx.array(np.array(values, np.int32))


def _take(array: mx.array, lines: ReadOnlySequence[int]) -> mx.array:
    return array if len(lines) == array.shape[0] else array[_indices_of(tuple(lines))]


def _put(array: mx.array, lines: ReadOnlySequence[int], values: mx.array) -> mx.array:
    result = array + 0  # a copy: the original may still be read
    result[_indices_of(tuple(lines))] = values.astype(array.dtype)
    return result


def _splitmix(value: int) -> int:
    value = (value + GOLDEN) & MASK_64
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & MASK_64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & MASK_64
    return value ^ (value >> 31)
