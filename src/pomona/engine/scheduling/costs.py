"""What passes cost, as measured: seconds of a decode pass by its rows and the context they look at, and of a prompt chunk by its
tokens and what they attend to. Plain numbers: no clock, no arrays.

Passes of like size fall into one bucket, which keeps the last few of them and answers with their median, so that a pass which compiled
kernels or met a busy machine counts for nothing. A line with non-negative slopes through the buckets says what other sizes cost.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import median

from pomona.engine.scheduling.sizes import SMALLEST, even_size, larger_size

Features = tuple[float, float, float]
KEPT = 9
"""Measurements of a bucket that count."""
HALF_LIFE = 256
"""Passes after which a bucket that nobody measured again weighs half."""
REFIT = 8
"""Passes between two fits, once there are as many."""
PULL = 1e-3
"""Of the first guess, as a relative error: it decides only what was never measured."""
FIRST_CHUNK = 32
"""Tokens of the first chunk of all: of a large model on a slow CPU these take seconds."""
GROWTH = 4
"""No chunk is more than so many times the largest one measured."""
FIRST_LINES = 4
"""Lines of the first decode pass of all; later ones have at most twice as many as were measured."""
WORTH_A_TRY = 0.9
"""Of the time there is: where a chunk takes less, one of a size that was never timed may be tried, half a doubling larger."""
TOO_LONG = 1.2
"""Times what there is: a chunk whose like took longer is cut. Sizes of one bucket differ by as much."""
LEAST = 1.25
"""Of what a pass over a few tokens takes: a chunk may always take this long."""
DEARER = 2.0
"""Times what a larger pass took: a smaller one that took longer was held up by something else."""
DOUBTFUL = 1.5
"""Times what smaller chunks take for the same tokens: such a size is tried again."""
DRIFT = 0.2
"""Weight of the last pass in how far all costs are off just now."""
DECODE_GUESS: Features = (5e-3, 1e-3, 1e-6)
"""Seconds of a pass, of each line, of each token of context. The first measurement scales it."""
PREFILL_GUESS: Features = (5e-3, 1e-3, 1e-7)
"""Seconds of a pass, of each token, of each pair of a token and one that it attends to."""


@dataclass(slots=True)
class _Bucket:
    ratios: deque[float] = field(default_factory=lambda: deque[float](maxlen=KEPT))
    """Measured seconds over those of the first guess."""
    features: Features = (0.0, 0.0, 0.0)
    middle: float = 0.0
    measured_at: int = 0


class Fit:
    """Seconds as a sum of three features with weights that are never negative; learned from passes, by relative error."""

    def __init__(self, guess: Features) -> None:
        self._guess = guess
        self._weights = guess
        self._buckets: dict[tuple[int, ...], _Bucket] = {}
        self._seen: set[tuple[int, ...]] = set()
        self._count = 0
        self._drift = 1.0

    @property
    def count(self) -> int:
        """Passes that were learned from."""
        return self._count

    def learn(self, features: Features, seconds: float) -> None:
        """One pass. The first of each size is left out if it took longer than expected: it may have compiled kernels. What is said to cost
        more than a pass that was larger in everything is forgotten for the same reason.
        """
        key = _key(features)
        known = self._count > 0
        if key not in self._seen:
            self._seen.add(key)
            if known and seconds > self._fitted(features):
                return
        if not known:
            scale = seconds / _dot(self._guess, features)
            self._guess = self._weights = _scaled(self._guess, scale)
        else:
            self._note_drift(seconds / max(self._fitted(features), 1e-9))
        self._put(key, features, seconds)
        self._forget_dearer(features, seconds)
        if self._count <= REFIT or self._count % REFIT == 0:
            self._refit()

    def seconds(self, features: Features) -> float:
        """Expected for any size; rises with every feature."""
        return self._fitted(features) * self._drift

    def local(self, features: Features) -> float:
        """Expected, by passes of just this size where there were some."""
        bucket = self._buckets.get(_key(features))
        return self.seconds(features) if bucket is None or len(bucket.ratios) < 3 else bucket.middle * _dot(self._guess, features)

    def measured(self, features: Features) -> float | None:
        """By passes of just this size, with the context that is nearest to this one; None where there were too few."""
        size, context = _key(features)
        timed = [(abs(key[1] - context), bucket) for key, bucket in self._buckets.items() if key[0] == size and len(bucket.ratios) >= 2]
        if not timed:
            return None
        _, bucket = min(timed, key=lambda each: each[0])
        rest = self._weights[2] * (features[2] - bucket.features[2])  # what other tokens are looked at
        return max(0.0, bucket.middle * _dot(self._guess, bucket.features) + rest)

    @property
    def largest_timed(self) -> int:
        """The most of the second feature that several passes had; 0 without any."""
        return int(max((bucket.features[1] for bucket in self._buckets.values() if len(bucket.ratios) >= 2), default=0))

    @property
    def smallest_timed(self) -> int:
        """The least of the second feature that several passes had; 0 without any."""
        return int(min((bucket.features[1] for bucket in self._buckets.values() if len(bucket.ratios) >= 2), default=0))

    @property
    def weights(self) -> Features:
        """Seconds for one of each feature."""
        return _scaled(self._weights, self._drift)

    def _fitted(self, features: Features) -> float:
        return _dot(self._weights, features)

    def _note_drift(self, ratio: float) -> None:
        self._drift *= math.exp(DRIFT * math.log(min(max(ratio / self._drift, 0.5), 2.0)))

    def _put(self, key: tuple[int, ...], features: Features, seconds: float) -> None:
        self._count += 1
        bucket = self._buckets.setdefault(key, _Bucket())
        bucket.ratios.append(seconds / _dot(self._guess, features))
        bucket.middle = median(bucket.ratios)
        bucket.features = features
        bucket.measured_at = self._count

    def _forget_dearer(self, features: Features, seconds: float) -> None:
        smaller = [
            key
            for key, bucket in self._buckets.items()
            if bucket.features[1] <= features[1]
            and bucket.features[2] <= features[2]
            and bucket.middle * _dot(self._guess, bucket.features) > DEARER * seconds
        ]
        for key in smaller:
            del self._buckets[key]
        if smaller:
            self._drift = 1.0
            self._refit()

    def _refit(self) -> None:
        """Weighted least squares over the buckets; each counts by how lately it was measured."""
        points: list[tuple[Features, float]] = []
        for bucket in self._buckets.values():
            seconds = bucket.middle * _dot(self._guess, bucket.features)
            trust = math.sqrt(0.5 ** ((self._count - bucket.measured_at) / HALF_LIFE))
            points.append((_scaled(_times(bucket.features, self._guess), trust / seconds), trust))
        pull = math.sqrt(PULL)
        points += [((pull, 0.0, 0.0), pull), ((0.0, pull, 0.0), pull), ((0.0, 0.0, pull), pull)]
        self._weights = _times(_non_negative(points), self._guess)


class PassCosts:
    """Costs of one engine's passes. `batches` is false where rows cannot share a pass: then each has one of its own."""

    def __init__(self) -> None:
        self.batches = True
        self.few_sizes = False
        """Chunks have those of `sizes.py` alone."""
        self._decode = Fit(DECODE_GUESS)
        self._prefill = Fit(PREFILL_GUESS)
        self._largest = self._most_lines = 0

    @property
    def knows_decode(self) -> bool:
        """A decode pass was measured."""
        return self._decode.count > 0

    def learn_decode(self, lines: int, context: int, seconds: float) -> None:
        """A pass that chose tokens for `lines` lines, which look at `context` tokens in all."""
        if lines > 0 and seconds > 0:
            self._most_lines = max(self._most_lines, lines)
            self._decode.learn((1.0, lines, context), seconds)

    def learn_prefill(self, tokens: int, pairs: float, seconds: float) -> None:
        """A pass over `tokens` prompt tokens, padding counted, with so many `pairs` of a token and one that it attends to."""
        if tokens > 0 and seconds > 0:
            self._largest = max(self._largest, tokens)
            self._prefill.learn((1.0, tokens, pairs), seconds)

    def decode_seconds(self, lines: int, context: float) -> float:
        """Of a step's decode passes."""
        if lines <= 0:
            return 0.0
        if not self.batches:
            return lines * self._decode.local((1.0, 1.0, context / lines))
        return self._decode.local((1.0, lines, context))

    def prefill_seconds(self, tokens: int, start: int, *, shares_pass: bool = False) -> float:
        """Of a chunk behind `start` tokens; without what every pass costs where it `shares_pass` with another one."""
        if tokens <= 0:
            return 0.0
        return self._prefill.seconds((0.0 if shares_pass else 1.0, tokens, pairs_of(tokens, start)))

    def tokens_within(self, seconds: float, start: int, *, shares_pass: bool = False) -> int:
        """The largest chunk behind `start` tokens that takes no longer, as far as chunks of its size can be foreseen.

        Of few sizes one may always be chosen that takes little more than the smallest: what every pass costs must be paid in any case, and
        a prompt would be read in crumbs wherever that is all the time there is.
        """
        fixed, each, pair = self._prefill.weights
        if self.few_sizes and not shares_pass:
            seconds = max(seconds, LEAST * self.cheapest(start))
        left = seconds - (0.0 if shares_pass else fixed)
        if left <= 0:
            return 0
        slope, bend = each + pair * start, pair / 2
        if math.isinf(left):
            return self.largest_chunk
        tokens = int(min(2 * left / max(1e-12, slope + math.sqrt(slope * slope + 4 * bend * left)), self.largest_chunk))
        return tokens if shares_pass else self._as_measured(tokens, seconds, start)

    def _as_measured(self, tokens: int, seconds: float, start: int) -> int:
        """`tokens`, or by steps of half a doubling more or less, where passes of such a size took less or more time than the line says.

        A device that reads all weights for each pass takes as long for 100 tokens as for 10: no line says that. Beyond what was measured,
        chunks cost in proportion.
        """
        least = SMALLEST if self.few_sizes else 1
        size = even_size(tokens) if self.few_sizes and tokens > SMALLEST else max(1, tokens)
        while size > least and self._known_at_least(size, start) > TOO_LONG * seconds:
            size = even_size(size - 1) if self.few_sizes else size * 2 // 3
        while (larger := self._next_size(size)) <= self.largest_chunk and (self._credible(larger, size, start) or math.inf) <= seconds:
            size = larger
        if larger > self.largest_chunk or self._credible(larger, size, start) is not None:
            return size
        return larger if (self._known(size, start) or math.inf) <= WORTH_A_TRY * seconds else size

    def _next_size(self, tokens: int) -> int:
        """Half a doubling more."""
        return larger_size(tokens) if self.few_sizes else max(tokens + 1, round(tokens * math.sqrt(2)))

    def cheapest(self, start: int = 0) -> float:
        """Seconds of the least pass over a prompt behind `start` tokens: of the smallest that was timed."""
        smallest = self._prefill.smallest_timed
        return (self._known(smallest, start) or 0.0) if smallest else self._prefill.weights[0]

    def _known(self, tokens: int, start: int) -> float | None:
        return self._prefill.measured((1.0, tokens, pairs_of(tokens, start)))

    def _credible(self, tokens: int, smaller: int, start: int) -> float | None:
        """As `_known`, but None where chunks of a `smaller` size in place of one would take much less: something else held it up."""
        known, part = self._known(tokens, start), self._known(smaller, start)
        doubtful = known is not None and part is not None and known > DOUBTFUL * part * tokens / smaller
        return None if doubtful else known

    def _known_at_least(self, tokens: int, start: int) -> float:
        """Seconds, where passes of this size were timed, or in proportion to the largest that were."""
        known = self._known(tokens, start)
        if known is not None:
            return known
        timed = self._prefill.largest_timed
        smaller = self._known(timed, start) if 0 < timed < tokens else None
        return smaller * tokens / timed if smaller is not None else 0.0

    @property
    def most_lines(self) -> int:
        """Rows that may decode together, as far as was tried."""
        return max(FIRST_LINES, 2 * self._most_lines if self.batches else 2**31)

    @property
    def largest_chunk(self) -> int:
        """Tokens of the largest chunk that may be tried."""
        return max(FIRST_CHUNK, GROWTH * self._largest)


def pairs_of(tokens: int, start: int) -> float:
    """Pairs of a token and one that it attends to, in a chunk behind `start` tokens."""
    return tokens * (start + tokens / 2)


def _key(features: Features) -> tuple[int, ...]:
    """Exact up to four, then half a doubling wide; contexts and pairs go by doublings from 256 on."""
    amount = features[1]
    sizes = round(2 * math.log2(amount)) if amount > 4 else int(amount) - 4
    return sizes, max(0, round(math.log2(features[2] / max(1.0, amount) / 256))) if features[2] > 0 else 0


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]


def _scaled(features: Features, factor: float) -> Features:
    return features[0] * factor, features[1] * factor, features[2] * factor


def _times(one: Features, other: Features) -> Features:
    return one[0] * other[0], one[1] * other[1], one[2] * other[2]


def _non_negative(points: Sequence[tuple[Features, float]]) -> Features:
    """The weights w >= 0 with the least sum of (features . w - target)^2: of three, each choice of those above zero is tried."""
    matrix = [[sum(f[i] * f[j] for f, _ in points) for j in range(3)] for i in range(3)]
    right = [sum(f[i] * target for f, target in points) for i in range(3)]
    best, best_loss = [0.0, 0.0, 0.0], 0.0
    for count in (3, 2, 1):
        for free in combinations(range(3), count):
            found = _solve([[matrix[i][j] for j in free] for i in free], [right[i] for i in free])
            if found is None or min(found) < 0:
                continue
            weights = [0.0, 0.0, 0.0]
            for index, value in zip(free, found, strict=True):
                weights[index] = value
            loss = sum(weights[i] * (_dot(matrix[i], weights) - 2 * right[i]) for i in range(3))
            if loss < best_loss:
                best, best_loss = weights, loss
        if count == 3 and best_loss < 0:
            break  # the unbound minimum is the least of all
    return best[0], best[1], best[2]


def _solve(matrix: list[list[float]], right: list[float]) -> list[float] | None:
    """Gauss with pivots; None where there is no one answer."""
    rows = [[*line, value] for line, value in zip(matrix, right, strict=True)]
    size = len(rows)
    for column in range(size):
        pivot = max(range(column, size), key=lambda line: abs(rows[line][column]))
        if abs(rows[pivot][column]) < 1e-300:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for line in range(size):
            if line != column:
                factor = rows[line][column] / rows[column][column]
                rows[line] = [a - factor * b for a, b in zip(rows[line], rows[column], strict=True)]
    return [rows[line][size] / rows[line][line] for line in range(size)]
