"""Every metric, declared once: name, unit and help. The docs table is made from this list."""

from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
LOAD_BUCKETS = (0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
PHASE_BUCKETS = (0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
GAP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What the documentation says of one metric."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...]


class Metrics:
    """The metrics of one process. Each instance has a registry of its own, so tests do not meet."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.declarations: list[Declaration] = []
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self.requests = counter("requests_total", "Requests answered, by endpoint and outcome.", ("endpoint", "outcome"))
        self.caller_requests = counter(
            "caller_requests_total", "Requests answered, by id of the API key and outcome.", ("caller", "outcome")
        )
        self.caller_tokens = counter("caller_tokens_total", "Prompt and completion tokens of finished requests, by API key.", ("caller",))
        self.coalesced = counter("coalesced_requests_total", "Requests sent again that joined a running answer.", ("endpoint",))
        self.denied = counter("denied_requests_total", "Requests turned away at the door for want of a right key or host.", ("code",))
        self.prompt_tokens = counter("prompt_tokens_total", "Prompt tokens of finished requests.", ("model",))
        self.cached_tokens = counter("cached_prompt_tokens_total", "Prompt tokens that the prefix cache spared.", ("model",))
        self.completion_tokens = counter("completion_tokens_total", "Tokens generated.", ("model",))
        self.first_token = histogram("time_to_first_token_seconds", "From request to first token.", ("model",), LATENCY_BUCKETS)
        self.token_gap = histogram("inter_token_gap_seconds", "Between two tokens of one stream.", ("model",), GAP_BUCKETS)
        told = "Where the time of requests went, by phase, as `pomona trace` tells."
        self.request_phase = histogram("request_phase_seconds", told, ("model", "phase"), PHASE_BUCKETS)
        self.running = gauge("engine_running_rows", "Rows that prefill or decode.", ("model",))
        self.waiting = gauge("engine_waiting_requests", "Requests that wait for a row or for pages.", ("model",))
        self.pages_used = gauge("engine_kv_pages_used", "KV pages held by running rows.", ("model",))
        self.pages_cached = gauge("engine_kv_pages_cached", "KV pages kept only for reuse by the prefix cache.", ("model",))
        self.pages_total = gauge("engine_kv_pages_total", "KV pages that the memory budget allows.", ("model",))
        self.kv_bytes = gauge("engine_kv_bytes", "Bytes of KV buffers allocated now.", ("model",))
        self.steps = gauge("engine_steps", "Steps that the present engine process has run.", ("model",))
        self.adapters = gauge("engine_adapters", "LoRA adapters in an engine's memory.", ("model",))
        self.adapter_bytes = gauge("engine_adapter_bytes", "Bytes of LoRA adapters in an engine's memory.", ("model",))
        self.picture_bytes = gauge("engine_picture_bytes", "Bytes of picture features kept for pictures that come again.", ("model",))
        self.pictures_made = gauge("engine_pictures_made", "Pictures whose features the present engine process computed.", ("model",))
        self.pictures_spared = gauge("engine_pictures_spared", "Times that an engine had a picture's features at hand.", ("model",))
        self.drafted_tokens = gauge("engine_drafted_tokens", "Tokens that the present engine process guessed ahead.", ("model",))
        self.accepted_tokens = gauge("engine_accepted_tokens", "Guesses of the present engine process that were right.", ("model",))
        self.disk_files = gauge("engine_disk_cache_files", "KV pages and states of a model that are on disk.", ("model",))
        self.disk_bytes = gauge("engine_disk_cache_bytes", "Bytes of a model's KV pages and states on disk.", ("model",))
        self.disk_read = gauge("engine_disk_cache_read", "KV pages and states that the present engine process read from disk.", ("model",))
        self.disk_bytes_read = gauge("engine_disk_cache_bytes_read", "Bytes that the present engine process read from there.", ("model",))
        self.disk_written = gauge("engine_disk_cache_written", "KV pages and states that the present engine process wrote.", ("model",))
        self.disk_bytes_written = gauge("engine_disk_cache_bytes_written", "Bytes that the present engine process wrote there.", ("model",))
        self.preemptions = gauge("engine_preemptions", "Rows that the present engine process put back for lack of pages.", ("model",))
        self._declare_scheduling()
        self.resumed = counter(
            "engine_resumed_answers_total", "Answers that went on in a new engine process after theirs had died.", ("model",)
        )
        self.quarantined = gauge("engine_quarantined_requests", "Requests that are refused because engines died of them.", ("model",))
        self.breaker = gauge("engine_breaker", "0 closed, 1 half open, 2 open: the model's engine died too often.", ("model",))
        self.restarts = counter("engine_restarts_total", "Engine processes started again after a failure.", ("model",))
        self._declare_residency()

    def _declare_scheduling(self) -> None:
        """What the engine's scheduler decides, and what became of the targets."""
        gauge, model, classes = self._gauge, ("model",), ("model", "priority")
        self.parked = gauge("engine_parked_rows", "Rows that wait, pages in hand, so that others keep their targets.", model)
        self.parkings = gauge("engine_parkings", "Times that the present engine process parked a row.", model)
        self.held_back = gauge("engine_held_back_steps", "Steps in which a request waited so that streams keep their gap.", model)
        self.chunk_tokens = gauge("engine_chunk_tokens", "Prompt tokens in the last step that had any.", model)
        self.late_first_tokens = gauge("engine_late_first_tokens", "First tokens that missed the target of their class.", classes)
        self.late_gaps = gauge("engine_late_gaps", "Gaps between two tokens that missed the target of their class.", classes)

    def _declare_residency(self) -> None:
        """Models in and out of memory."""
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self.models_loaded = gauge("models_loaded", "Models that are ready to answer.", ())
        self.model_state = gauge("model_state", "1 for the state that a model is in: loading, ready and so on.", ("model", "state"))
        self.model_planned_bytes = gauge("model_planned_bytes", "Bytes that a model in memory is expected to need.", ("model",))
        self.model_measured_bytes = gauge("model_measured_bytes", "Bytes that the process of a model in memory took at most.", ("model",))
        self.model_active = gauge("model_active_requests", "Requests that a model answers now.", ("model",))
        self.model_waiting = gauge("model_waiting_requests", "Requests that wait for a model to be loaded.", ("model",))
        self.model_loads = counter("model_loads_total", "Loads of models, by outcome (ok, failed).", ("model", "outcome"))
        self.model_unloads = counter(
            "model_unloads_total", "Models unloaded, by reason: idle, evicted, asked, guard, shutdown.", ("model", "reason")
        )
        self.model_load_seconds = histogram("model_load_seconds", "Time to load and warm up a model.", ("model",), LOAD_BUCKETS)
        self.memory_free = gauge("memory_free_bytes", "Memory that can be had without swapping.", ())
        self.memory_budget = gauge("memory_budget_bytes", "Memory that all loaded models together may use.", ())
        self.memory_planned = gauge("memory_planned_bytes", "Memory planned for models that are loaded or being loaded.", ())
        self.guard_level = gauge("memory_guard_level", "0 safe, 1 caution, 2 warning, 3 critical, 4 emergency.", ())
        self.pulls = gauge("pulls", "Downloads since the start, by state.", ("state",))
        self.pull_bytes_per_second = gauge("pull_bytes_per_second", "Speed of all running downloads together.", ())

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(self._declare("counter", name, text, labels), text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...]) -> Gauge:
        return Gauge(self._declare("gauge", name, text, labels), text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
        return Histogram(self._declare("histogram", name, text, labels), text, labels, registry=self.registry, buckets=buckets)

    def _declare(self, kind: Literal["counter", "gauge", "histogram"], name: str, text: str, labels: tuple[str, ...]) -> str:
        full_name = f"pomona_{name}"
        self.declarations.append(Declaration(name=full_name, kind=kind, help=text, labels=labels))
        return full_name
