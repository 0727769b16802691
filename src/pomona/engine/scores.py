"""Log-probabilities: of chosen tokens, of the most likely ones, of any that were asked for. Natural, of the model's own distribution."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import mlx.core as mx

from pomona.core.generation import SamplingParams, TokenLogprobs

PASS_BYTES = 2**26
"""Of float32 logits that one pass over a scored prompt may make: 64 MiB are 64 tokens of a vocabulary of 262,144."""


@dataclass(slots=True, frozen=True, eq=False)
class Scores:
    """Of some positions, not read back yet."""

    chosen: mx.array  # (positions,)
    top_ids: mx.array | None = None  # (positions, most asked for), most likely first
    top: mx.array | None = None
    asked: mx.array | None = None  # (positions, most ids asked for)

    @property
    def arrays(self) -> list[mx.array]:
        """All that must be computed."""
        return [a for a in (self.chosen, self.top_ids, self.top, self.asked) if a is not None]


def asks_scores(params: SamplingParams) -> bool:
    """Whether log-probabilities are wanted."""
    return params.logprobs is not None or bool(params.logprob_token_ids)


def score(logits: mx.array, tokens: mx.array, most: int, asked: Sequence[tuple[int, ...]] = ()) -> Scores:
    """Scores of `tokens` (positions,) under `logits` (positions, vocabulary) of float32. `asked` has ids for each position, or nothing."""
    total = mx.logsumexp(logits, axis=-1, keepdims=True)  # taken off what is asked for, not off the whole vocabulary
    chosen = (mx.take_along_axis(logits, tokens[:, None], axis=-1) - total)[:, 0]
    width = max(map(len, asked), default=0)
    extra = None
    if width:
        extra = mx.take_along_axis(logits, mx.array([[*ids, *[0] * (width - len(ids))] for ids in asked]), axis=-1) - total
    most = min(most, logits.shape[-1])
    if not most:
        return Scores(chosen, asked=extra)
    ids = mx.argpartition(-logits, most - 1, axis=-1)[:, :most]
    best = mx.take_along_axis(logits, ids, axis=-1) - total
    order = mx.argsort(-best, axis=-1)
    return Scores(chosen, mx.take_along_axis(ids, order, axis=-1), mx.take_along_axis(best, order, axis=-1), extra)


def read_scores(scores: Scores, wanted: Iterable[tuple[int, tuple[int, ...]]]) -> list[TokenLogprobs]:
    """By position; `wanted` says for each how many of the most likely tokens, and which others."""
    chosen = cast("list[float]", scores.chosen.tolist())
    top_ids, top, asked = (_rows(array, len(chosen)) for array in (scores.top_ids, scores.top, scores.asked))
    read: list[TokenLogprobs] = []
    for line, (most, ids) in enumerate(wanted):
        likely = zip(top_ids[line][:most], top[line][:most], strict=True)
        others = zip(ids, asked[line][: len(ids)], strict=True)
        read.append(TokenLogprobs(logprob=chosen[line], top=(*likely, *others)))
    return read


def _rows(array: mx.array | None, count: int) -> list[list[Any]]:
    return [[]] * count if array is None else cast("list[list[Any]]", array.tolist())
