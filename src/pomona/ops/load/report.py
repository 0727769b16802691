"""From outcomes to the figures that people compare: percentiles of latencies, tokens per second, failures by kind."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pomona.ops.load.run import LoadRun, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Percentiles of one figure; None where nothing was measured."""

    count: int
    mean: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    most: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of `values`."""
        ranks = {name: percentile(values, share) for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("most", 1.0))}
        return cls(count=len(values), mean=math.fsum(values) / len(values) if values else None, **ranks)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """A run in figures. Times in seconds, rates per second of the run, each answer's own rate in `answer_tokens_per_second`."""

    seconds: float
    sent: int
    finished: int
    failures: dict[str, int]
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    requests_per_second: float
    prompt_tokens_per_second: float
    completion_tokens_per_second: float
    most_under_way: int
    first_token_seconds: Spread
    """From the moment a request was due to its first text."""
    token_gap_seconds: Spread
    """Between two chunks of text of one answer: what a reader sees as stutter."""
    seconds_per_token: Spread
    """Per answer: time from first to last text, divided by the tokens after the first."""
    answer_seconds: Spread
    answer_tokens_per_second: Spread

    def as_json(self) -> dict[str, object]:
        """Plain data."""
        return asdict(self)


def summarise(run: LoadRun) -> LoadReport:
    """The figures of `run`. Only answers that finished without a problem count as finished; tokens of others are not counted."""
    good = [outcome for outcome in run.outcomes if outcome.problem is None]
    seconds = max(run.seconds, 1e-9)
    prompt, completion = sum(each.usage.prompt_tokens for each in good), sum(each.usage.completion_tokens for each in good)
    return LoadReport(
        seconds=run.seconds,
        sent=len(run.outcomes),
        finished=len(good),
        failures=dict(Counter(each.problem for each in run.outcomes if each.problem is not None)),
        prompt_tokens=prompt,
        cached_tokens=sum(each.usage.cached_tokens for each in good),
        completion_tokens=completion,
        requests_per_second=len(good) / seconds,
        prompt_tokens_per_second=prompt / seconds,
        completion_tokens_per_second=completion / seconds,
        most_under_way=run.most_under_way,
        first_token_seconds=Spread.of([each.first for each in good if each.first is not None]),
        token_gap_seconds=Spread.of([gap for each in good for gap in each.gaps]),
        seconds_per_token=Spread.of([pace for each in good if (pace := _seconds_per_token(each)) is not None]),
        answer_seconds=Spread.of([each.total for each in good]),
        answer_tokens_per_second=Spread.of([each.usage.completion_tokens / each.total for each in good if each.total > 0]),
    )


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value below which `share` of all lie, linearly interpolated between ranks (the default of NumPy)."""
    if not values:
        return None
    ordered = sorted(values)
    rank = share * (len(ordered) - 1)
    below = math.floor(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)


def _seconds_per_token(outcome: Outcome) -> float | None:
    if outcome.first is None or outcome.last is None or outcome.usage.completion_tokens < 2:
        return None
    return (outcome.last - outcome.first) / (outcome.usage.completion_tokens - 1)
