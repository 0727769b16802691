"""Facts about models and engines that health, metrics and the models list show."""

from dataclasses import dataclass, field
from typing import Literal

from pomona.core.generation import Priority, SamplingParams

BreakerState = Literal["closed", "open", "half_open"]
"""`open`: the engine died again and again, requests are refused for a while; `half_open`: one request after the other tries it."""
EngineState = Literal["loading", "ready", "failed", "restarting"]
Task = Literal["generate", "embed", "rerank"]
"""What a model does: writes text, makes vectors of texts, or scores documents against a query."""
ResidencyState = Literal["unloaded", "waiting", "loading", "ready", "unloading", "failed"]
"""`waiting`: to be loaded as soon as another model has gone."""
GuardLevel = Literal["safe", "caution", "warning", "critical", "emergency"]
Fit = Literal["fits", "tight", "no"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """A model that can be asked for by `id`. `created` is in Unix seconds; `max_context` in tokens, None where not known before loading."""

    id: str
    created: int
    owned_by: str
    max_context: int | None = None
    loaded: bool = False
    task: Task = "generate"
    vision: bool = False
    """It takes pictures."""
    parent: str | None = None
    """The model that this adapter or alias stands on."""
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
    parked: int = 0
    """Rows that wait, pages in hand, so that others keep their targets."""
    parkings: int = 0
    """Times that a row was parked."""
    held_back: int = 0
    """Steps in which a request waited although there was a place, so that streams keep their gap."""
    chunk_tokens: int = 0
    """Prompt tokens in the last step that had any."""
    late_first_tokens: dict[Priority, int] = field(default_factory=dict[Priority, int])
    """First tokens that came later than their class should have them."""
    late_gaps: dict[Priority, int] = field(default_factory=dict[Priority, int])
    """Tokens that came later behind the one before than their class should have them."""
    device_peak_bytes: int = 0
    adapters: int = 0
    """LoRA adapters in memory."""
    adapter_bytes: int = 0
    pictures_made: int = 0
    """Pictures whose features were computed."""
    pictures_spared: int = 0
    """Times that features were at hand for a picture that was needed."""
    picture_bytes: int = 0
    """Features that are kept."""
    drafted_tokens: int = 0
    """Tokens that were guessed ahead."""
    accepted_tokens: int = 0
    """Guesses that were right."""
    disk_files: int = 0
    """Pages and states of this model that are on disk."""
    disk_bytes: int = 0
    """Their size."""
    disk_blocks_read: int = 0
    """Pages and states that came from disk."""
    disk_bytes_read: int = 0
    disk_blocks_written: int = 0
    disk_bytes_written: int = 0


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
    dimensions: int = 0
    """Of the vectors that an embedder makes."""
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
    pid: int | None = None
    """Of its process, while there is one."""
    breaker: BreakerState = "closed"
    resumed: int = 0
    """Answers that went on in a new process after theirs had died."""
    quarantined: int = 0
    """Requests that are refused for a while, because engines died of them."""
    patient_seconds: float = 0.0
    """The engine has said that its present step may take long: its silence is no hang for so long from now."""
    required: bool = False
    """The server is not ready before this one is: it is to be there from the start, and has not been there yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """What a model is expected to need, in bytes; corrected by what was measured when it was loaded before."""

    weights: int
    kv: int
    activations: int
    """Peak of what one step needs beside weights and keys and values."""
    process: int = 0
    """The interpreter and libraries of its engine process."""

    @property
    def total(self) -> int:
        """All together."""
        return self.weights + self.kv + self.activations + self.process


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """One model that can be asked for, loaded or not. Times are Unix seconds."""

    id: str
    source: Literal["bundled", "folder", "hub", "adapter"]
    path: str
    task: Task = "generate"
    vision: bool = False
    state: ResidencyState = "unloaded"
    aliases: tuple[str, ...] = ()
    parent: str | None = None
    """The model that an adapter stands on."""
    registered_by: str | None = None
    """Who registered it by the admin API; None where it was found on disk."""
    pinned: bool = False
    keep_alive_seconds: float | None = None
    """As in force for it; None: for ever."""
    expires_at: float | None = None
    """When it is unloaded if nobody asks for it; None while it is not loaded, busy, pinned or kept for ever."""
    active_requests: int = 0
    waiting_requests: int = 0
    """Those that wait until it is loaded."""
    last_used_at: float | None = None
    loaded_at: float | None = None
    load_seconds: float | None = None
    plan: MemoryPlan | None = None
    measured_bytes: int | None = None
    """Memory of its engine process at its largest, device memory included."""
    problem: str | None = None
    """Why it cannot be loaded, or could not be the last time."""
    breaker: BreakerState = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReport:
    """The memory of this machine and what models may use of it, in bytes."""

    total: int
    free: int
    """What can be had without swapping."""
    budget: int
    planned: int
    """Of all models that are loaded or being loaded."""
    guard: GuardLevel
    guard_enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class UnloadReport:
    """What unloading a model gave back."""

    id: str
    freed_bytes: int
    seconds: float
