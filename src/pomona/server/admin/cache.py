"""/admin/cache/prompts: the prefix cache, by the names of unified-mlx-app. What is kept are pages of keys and values, not prompts."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import uuid4

from fastapi import APIRouter, Query
from pydantic import Field, RootModel
from starlette.requests import Request

from pomona.core.generation import Finished, GenerateRequest, SamplingParams, Usage
from pomona.core.messages import Message, TextPart
from pomona.core.status import EngineReport
from pomona.server.admin.services import AdminServices
from pomona.server.bodies import WireBody, read_body
from pomona.server.describing import described

REMEMBERED_WARMUPS = 1000
_PREVIEW_CHARACTERS = 100


class WarmupBody(WireBody):
    """The beginning of prompts to come."""

    model_id: str = Field(min_length=1)
    system_prompt: str = Field(min_length=1)


class WarmupAnswer(WireBody):
    """`cached_tokens` of the `prompt_tokens` were in the cache before."""

    status: Literal["cached"]
    cache_key: str
    model_id: str
    prompt_preview: str
    prompt_tokens: int
    cached_tokens: int
    seconds: float


class WarmedPrompt(WireBody):
    """A prompt that was warmed up. It may have been pushed out since, by others or with its model. Times are ISO 8601."""

    cache_key: str
    model_id: str
    prompt_preview: str
    token_count: int
    hits: int
    created_at: str
    last_used: str


class WarmedPrompts(RootModel[list[WarmedPrompt]]):
    """The last one first."""


class ModelCache(WireBody):
    """The prefix cache of one loaded model, in pages of `page_tokens` tokens and in bytes."""

    model: str
    pages_used: int
    pages_cached: int
    pages_total: int
    page_tokens: int
    cached_tokens: int
    kv_bytes: int
    disk_entries: int
    """Pages and states on disk."""
    disk_bytes: int


class ClearAnswer(WireBody):
    """`entries_removed` counts pages of `models` that were kept only for reuse, and with `disk` the files there; pages that answers use
    stay as long as they do.
    """

    status: Literal["cleared"]
    models: list[str]
    entries_removed: int


class CacheStats(WireBody):
    """`total_hits` and `total_misses` are prompt tokens of finished requests that the cache spared, and did not."""

    enabled: bool
    memory_entries: int
    disk_entries: int
    total_hits: int
    total_misses: int
    hit_rate: float
    max_entries: int
    models: list[ModelCache]


@dataclass(slots=True, kw_only=True)
class _Warmed:
    key: str
    model: str
    preview: str
    tokens: int
    created_at: float
    used_at: float
    hits: int = 0


class Warmups:
    """The prompts that were warmed up last, by key: the first 16 hexadecimal digits of SHA-256 over `model:prompt`."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Warmed] = OrderedDict()

    def note(self, model: str, prompt: str, usage: Usage) -> _Warmed:
        """A prompt is in the cache now; it counts as a hit if some of it was there before."""
        key, now = hashlib.sha256(f"{model}:{prompt}".encode()).hexdigest()[:16], time.time()
        fresh = _Warmed(key=key, model=model, preview=_preview(prompt), tokens=usage.prompt_tokens, created_at=now, used_at=now)
        warmed = self._known.setdefault(key, fresh)
        warmed.used_at, warmed.tokens = now, usage.prompt_tokens
        warmed.hits += usage.cached_tokens > 0
        self._known.move_to_end(key)
        if len(self._known) > REMEMBERED_WARMUPS:
            self._known.popitem(last=False)
        return warmed

    def forget(self, models: Sequence[str]) -> None:
        """The caches of these models are empty."""
        for key in [key for key, warmed in self._known.items() if warmed.model in models]:
            del self._known[key]

    def documents(self) -> list[dict[str, object]]:
        """The last one first."""
        return [
            {
                "cache_key": warmed.key,
                "model_id": warmed.model,
                "prompt_preview": warmed.preview,
                "token_count": warmed.tokens,
                "hits": warmed.hits,
                "created_at": _iso(warmed.created_at),
                "last_used": _iso(warmed.used_at),
            }
            for warmed in reversed(self._known.values())
        ]


def cache_routes(services: AdminServices) -> APIRouter:
    """The routes of this resource."""
    routes, warmups = APIRouter(tags=["cache"]), Warmups()

    @routes.get("/admin/cache/prompts", summary="Prompts that were warmed up", openapi_extra=described(answer=WarmedPrompts))
    async def list_prompts() -> list[dict[str, object]]:
        return warmups.documents()

    @routes.get("/admin/cache/prompts/stats", summary="What the prefix cache holds and spares", openapi_extra=described(answer=CacheStats))
    async def show_stats() -> dict[str, object]:
        return _stats(services)

    @routes.post("/admin/cache/prompts/clear", summary="Forget what no answer needs now", openapi_extra=described(answer=ClearAnswer))
    async def clear(
        model: Annotated[str | None, Query(min_length=1, description="Only this one's, by any of its names.")] = None,
        disk: Annotated[bool, Query(description="Also what is kept on disk.")] = False,
    ) -> dict[str, object]:
        name = services.find(model).id if model else None
        counters = {report.model: report.counters for report in services.backend.status.status()}
        pages = {each: known.pages_cached + (known.disk_files if disk else 0) for each, known in counters.items()}
        told = services.management.kept.shrink(name, disk=disk)
        warmups.forget(told)
        return {"status": "cleared", "models": list(told), "entries_removed": sum(pages.get(each, 0) for each in told)}

    @routes.post(
        "/admin/cache/prompts/warmup",
        summary="Read a system prompt, so that requests that begin with it start sooner",
        openapi_extra=described(body=WarmupBody, answer=WarmupAnswer, errors=(502, 507)),
    )
    async def warm_up(request: Request) -> dict[str, object]:
        body = await read_body(request, WarmupBody)
        model, began = services.find(body.model_id).id, time.perf_counter()
        usage = await _read_prompt(services, model, body.system_prompt)
        warmed = warmups.note(model, body.system_prompt, usage)
        return {
            "status": "cached",
            "cache_key": warmed.key,
            "model_id": model,
            "prompt_preview": warmed.preview,
            "prompt_tokens": usage.prompt_tokens,
            "cached_tokens": usage.cached_tokens,
            "seconds": round(time.perf_counter() - began, 6),
        }

    del list_prompts, show_stats, clear, warm_up
    return routes


async def _read_prompt(services: AdminServices, model: str, prompt: str) -> Usage:
    """Answer the prompt with one token that nobody reads. Raises as `Generator.generate`."""
    messages = (Message(role="system", content=(TextPart(text=prompt),)), Message(role="user", content=(TextPart(text="Hello"),)))
    request = GenerateRequest(
        id=f"warmup-{uuid4().hex}",
        model=model,
        messages=messages,
        sampling=SamplingParams(temperature=0.0),
        max_tokens=1,
        priority="low",
        caller="admin",
    )
    usage = Usage()
    async with aclosing(services.backend.generator.generate(request)) as events:
        async for event in events:
            if isinstance(event, Finished):
                usage = event.usage
    return usage


def _stats(services: AdminServices) -> dict[str, object]:
    history, reports = services.traffic.history, services.backend.status.status()
    return {
        "enabled": services.settings.engine.prefix_cache,
        "memory_entries": sum(report.counters.pages_cached for report in reports),
        "disk_entries": sum(report.counters.disk_files for report in reports),
        "total_hits": history.cached_tokens,
        "total_misses": history.prompt_tokens - history.cached_tokens,
        "hit_rate": round(history.cached_tokens / history.prompt_tokens, 6) if history.prompt_tokens else 0.0,
        "max_entries": sum(report.counters.pages_total for report in reports),
        "models": [_model_cache(report, services.settings.engine.page_tokens) for report in reports],
    }


def _model_cache(report: EngineReport, page_tokens: int) -> dict[str, object]:
    counters = report.counters
    return {
        "model": report.model,
        "pages_used": counters.pages_used,
        "pages_cached": counters.pages_cached,
        "pages_total": counters.pages_total,
        "page_tokens": page_tokens,
        "cached_tokens": counters.pages_cached * page_tokens,
        "kv_bytes": counters.kv_bytes,
        "disk_entries": counters.disk_files,
        "disk_bytes": counters.disk_bytes,
    }


def _preview(prompt: str) -> str:
    return prompt if len(prompt) <= _PREVIEW_CHARACTERS else f"{prompt[:_PREVIEW_CHARACTERS]}..."


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
