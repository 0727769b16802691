"""Facts about models and engines that health, metrics and the models list show."""

from dataclasses import dataclass, field
from typing import Literal

from pomona.core.generation import SamplingParams

EngineState = Literal["loading", "ready", "failed", "restarting"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """A model that can be asked for by `id`. `created` is in Unix seconds; `max_context` in tokens, None where not known before loading."""

    id: str
    created: int
    owned_by: str
    max_context: int | None = None
    loaded: bool = False
    sampling_defaults: SamplingParams = field(default_factory=SamplingParams)
    """What holds for the fields that a request leaves open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCounters:
    """The engine after its last step. Counters start at 0 with each engine process; pages are KV pages."""

    steps: int = 0
    running: int = 0
    waiting: int = 0
    pages_used: int = 0
    pages_cached: int = 0
    pages_total: int = 0
    kv_bytes: int = 0
    preemptions: int = 0
    device_peak_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What is known of a model once it is loaded. `max_context` and `vocabulary` are in tokens."""

    architecture: str
    device: str
    max_context: int
    vocabulary: int
    weight_bytes: int
    kv_budget_bytes: int
    load_seconds: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReport:
    """One engine, now. `facts` is None before the first load; `problem` says why an engine failed or restarts."""

    model: str
    state: EngineState
    seconds_since_step: float | None
    """Since the device last proved that it works, by a step or by an idle heartbeat; None before the first proof."""
    restarts: int = 0
    counters: EngineCounters = EngineCounters()
    facts: ModelFacts | None = None
    problem: str | None = None
