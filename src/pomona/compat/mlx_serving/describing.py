"""Models, figures and health in the shapes of mlx-serving. Times are Unix milliseconds, durations milliseconds."""

import importlib.metadata
import time
from collections.abc import Iterable, Mapping
from typing import Any

import psutil

import pomona
from pomona.core.events import ErrorOccurred, Event, ModelInvalidated, ModelLoaded, ModelUnloaded, RuntimeStatus
from pomona.core.generation import Usage
from pomona.core.status import EngineCounters, EngineReport, ModelCard, ModelStatus
from pomona.library.asynchronous import Stats

STATES = {"ready": "ready", "failed": "failed"}
REASONS = {"engine_restart": "python_restart"}
FORMATS = ["png", "jpg", "jpeg", "webp", "bmp", "gif", "pdf"]
COUNTERS = {
    "steps": "steps",
    "preemptions": "preemptions",
    "drafted_tokens": "draftTokensProposed",
    "accepted_tokens": "draftTokensAccepted",
    "pictures_made": "imagesEncoded",
    "pictures_spared": "imagesReused",
}
LEVELS = {"running": "activeRequests", "waiting": "queuedRequests", "pages_used": "kvPagesUsed", "pages_total": "kvPagesTotal"}


def now() -> float:
    """Unix milliseconds."""
    return time.time() * 1000


def handle_of(status: ModelStatus, card: ModelCard | None, report: EngineReport | None) -> dict[str, Any]:
    """A ModelHandle."""
    facts = report.facts if report is not None else None
    vision = {"supportedFormats": FORMATS, "maxBatchSize": 1} if status.vision else {}
    return {
        "descriptor": {
            "id": status.id,
            "source": "huggingface" if status.source == "hub" else "local",
            "path": status.path,
            "modality": "multimodal" if status.vision else "text",
            "family": "mlx-vlm" if status.vision else "mlx-lm",
            **({"tokenizer": {"type": "huggingface", "vocabSize": facts.vocabulary}} if facts else {}),
        },
        "state": STATES.get(status.state, "loading"),
        "contextLength": facts.max_context if facts else (card.max_context if card else None) or 0,
        "metadata": {
            "aliases": list(status.aliases),
            "task": status.task,
            "loadTimeMs": None if status.load_seconds is None else status.load_seconds * 1000,
            "memoryBytes": status.measured_bytes or (status.plan.total if status.plan else None),
            **({"architecture": facts.architecture, "device": facts.device} if facts else {}),
            **({"problem": status.problem} if status.problem else {}),
            **vision,
        },
        "draft": False,
    }


def figures_of(usage: Usage, model: str, first: float | None, seconds: float) -> dict[str, Any]:
    """GenerationStats. `first` is when the first token came, in seconds."""
    count = usage.completion_tokens
    spent = seconds - (first or 0.0)
    return {
        "tokensGenerated": count,
        "tokensPerSecond": (count - 1) / spent if count > 1 and spent > 0 else 0.0,
        "timeToFirstToken": (first if first is not None else seconds) * 1000,
        "totalTime": seconds * 1000,
        "draftTokensAccepted": usage.accepted_tokens,
        "promptTokens": usage.prompt_tokens,
        "cachedTokens": usage.cached_tokens,
        "modelId": model,
    }


def runtime_of(stats: Stats) -> dict[str, Any]:
    """RuntimeInfo. Memory is that of this process and its engine processes."""
    vision = any(status.vision for status in stats.models)
    abilities = ["generate", "tokenize", "draft", "structured", "batch", "embed", "rerank", "adapters", *(["vision"] if vision else [])]
    memory = {"rss": 0, "vms": 0}
    for process in _processes(stats.engines):
        taken = process.memory_info()
        memory = {"rss": memory["rss"] + taken.rss, "vms": memory["vms"] + taken.vms}
    return {
        "version": pomona.__version__,
        "mlxVersion": importlib.metadata.version("mlx"),
        "protocol": "pomona",
        "capabilities": abilities,
        "mlxSupported": True,
        "memory": memory,
    }


def health_of(stats: Stats | None, uptime: float) -> dict[str, Any]:
    """HealthStatus; None for an engine that is closed. `uptime` is in seconds."""
    if stats is None:
        stopped = {"status": "stopped"}
        return {"status": "unhealthy", "uptime": uptime * 1000, "activeStreams": 0, "loadedModels": 0, "runtime": stopped}
    problems = [f"{report.model}: {report.problem or report.state}" for report in stats.engines if report.state in {"failed", "restarting"}]
    failed = bool(stats.engines) and all(report.state == "failed" for report in stats.engines)
    pid = next((report.pid for report in stats.engines if report.pid), None)
    return {
        "status": "unhealthy" if failed else "degraded" if problems else "healthy",
        "uptime": uptime * 1000,
        "activeStreams": len(stats.running),
        "loadedModels": sum(status.state == "ready" for status in stats.models),
        "runtime": {"pid": pid, "status": "crashed" if failed else "running"},
        "stateConsistent": not problems,
        "stateErrors": problems,
    }


def cache_of(stats: Stats, most: int) -> dict[str, Any]:
    """ModelCacheStats: the models in memory."""
    loaded = [status for status in stats.models if status.state == "ready"]
    return {
        "loadedModels": len(loaded),
        "maxModels": most,
        "cacheEnabled": True,
        "models": [{"modelId": status.id, "lastAccess": (status.last_used_at or status.loaded_at or 0) * 1000} for status in loaded],
    }


def totals_of(engines: Iterable[EngineReport]) -> dict[str, int]:
    """What all engines counted, together."""
    counted = [report.counters for report in engines] or [EngineCounters()]
    return {name: sum(getattr(each, field) for each in counted) for field, name in (COUNTERS | LEVELS).items()}


def since(totals: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """What was counted since `before`; levels are as they are. Engines that were replaced count from 0 again."""
    levels = set(LEVELS.values())
    return {name: value if name in levels else max(0, value - before.get(name, 0)) for name, value in totals.items()}


def payload_of(event: Event) -> dict[str, Any] | None:
    """An event of models and the runtime; those of answers are told by the streams themselves."""
    match event:
        case ModelLoaded() | ModelUnloaded():
            return {"modelId": event.model, "timestamp": event.at * 1000}
        case ModelInvalidated():
            return {"modelId": event.model, "reason": REASONS.get(event.reason, event.reason), "timestamp": event.at * 1000}
        case RuntimeStatus():
            status = {"status": event.status, "previousStatus": event.previous, "timestamp": event.at * 1000}
            return {**status, **({"modelId": event.model} if event.model else {})}
        case ErrorOccurred(request=None):
            return {"error": {"code": event.code, "message": event.message}, "context": event.model, "timestamp": event.at * 1000}
        case _:
            return None


def _processes(engines: Iterable[EngineReport]) -> list[psutil.Process]:
    found = [psutil.Process()]
    for report in engines:
        if report.pid is not None and psutil.pid_exists(report.pid) and report.pid != found[0].pid:
            found.append(psutil.Process(report.pid))
    return found
