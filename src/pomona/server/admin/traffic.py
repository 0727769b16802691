"""The requests of one gateway, added up: what the admin address tells of them. Bounded, however many there are."""

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from pomona.control.stack import Control
from pomona.core.records import RequestRecord
from pomona.server.tracing.store import TraceStore

REMEMBERED = 2048
"""Requests whose times are kept for percentiles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How values are spread, in their own unit. Percentiles are values that were seen (nearest rank)."""

    count: int
    average: float
    least: float
    most: float
    p50: float
    p95: float
    p99: float


class History:
    """Counts all requests that ended, and keeps the times of the last ones. A listener of records."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self.outcomes: Counter[str] = Counter()
        self.endpoints: Counter[str] = Counter()
        self.models: Counter[str] = Counter()
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.completion_tokens = 0
        self._seconds: deque[float] = deque(maxlen=remembered)
        self._first_token_seconds: deque[float] = deque(maxlen=remembered)

    def __call__(self, record: RequestRecord) -> None:
        """Note a request that ended. Only the times of answers that were begun count: refusals are quick."""
        self.outcomes[record.outcome] += 1
        self.endpoints[record.endpoint] += 1
        if record.outcome == "ok":
            self.models[record.model] += 1
            self.prompt_tokens += record.usage.prompt_tokens
            self.cached_tokens += record.usage.cached_tokens
            self.completion_tokens += record.usage.completion_tokens
            self._seconds.append(record.seconds)
        if record.first_token_seconds is not None:
            self._first_token_seconds.append(record.first_token_seconds)

    @property
    def seconds(self) -> Spread:
        """From arrival to end, of the last answers that ended well."""
        return spread(self._seconds)

    @property
    def first_token_seconds(self) -> Spread:
        """From arrival to the first token, of the last answers that had one."""
        return spread(self._first_token_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What is decided about requests, what became of them, and where their time went."""

    control: Control
    history: History
    traces: TraceStore


def spread(values: Sequence[float]) -> Spread:
    """How `values` are spread; all 0 where there are none."""
    if not values:
        return Spread(count=0, average=0.0, least=0.0, most=0.0, p50=0.0, p95=0.0, p99=0.0)
    ordered = sorted(values)
    p50, p95, p99 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.95, 0.99))
    return Spread(count=len(ordered), average=sum(ordered) / len(ordered), least=ordered[0], most=ordered[-1], p50=p50, p95=p95, p99=p99)
