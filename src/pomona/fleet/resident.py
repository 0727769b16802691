"""One model with an engine process of its own, and what stands before it. Whatever its task, this is how it comes to life."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from pomona.core.ports import Embedder, Generator, Reranker
from pomona.core.settings import EngineSettings, LoggingSettings, Settings
from pomona.core.status import EngineReport, EngineState, ModelFacts, Task
from pomona.engine.protocol import Launch
from pomona.fleet.generator import AdapterOf, ModelGenerator, no_adapter
from pomona.fleet.process.client import EngineClient
from pomona.fleet.process.starting import Starter
from pomona.fleet.survival.care import Care
from pomona.fleet.survival.engine import SurvivingEngine
from pomona.fleet.survival.supervisor import Supervisor
from pomona.fleet.tasks import task_for
from pomona.fleet.vectors import ModelEmbedder, ModelReranker, NoWords, load_reading
from pomona.fleet.words import WordsCache
from pomona.models.references import ResolvedModel


class LivingEngine(Protocol):
    """An engine process, kept alive."""

    async def loaded(self) -> ModelFacts:
        """Wait until the model is loaded. Raises what went wrong."""
        ...

    def report(self) -> EngineReport:
        """How the engine is, from what it said last."""
        ...

    def shrink(self, *, disk: bool = False) -> None:
        """Ask it to give back memory that it can do without, and what it keeps on `disk`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What all engines of one Pomona are made with: where their processes come from and caches go, threads for text.

    `settings` are those that hold for the model which is opened, `draft` is the folder of the one that drafts for it.
    """

    starter: Starter
    cache_folder: Path
    settings: Settings
    pool: Executor
    words_cache: WordsCache
    adapter_of: AdapterOf = no_adapter
    draft: Path | None = None
    note: Callable[[str, EngineState | None], None] = lambda _model, _state: None
    """Is told the states of engines, by model."""
    pressed: Callable[[], bool] = lambda: False
    """Memory of this machine is short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """A model in memory, or on its way there."""

    model: ResolvedModel
    engine: LivingEngine
    generator: Generator
    embedder: Embedder | None = None
    """None for a model of another task."""
    reranker: Reranker | None = None


@asynccontextmanager
async def open_resident(model: ResolvedModel, workshop: Workshop, care: Care) -> AsyncGenerator[Resident]:
    """Start `model`'s engine; it loads while the caller goes on (`Resident.engine.loaded` waits). Its memory is free at the end.

    Raises ModelUnusable for a tokenizer or template that cannot be read.
    """
    settings = workshop.settings
    places = settings.engine.max_rows + settings.engine.max_waiting
    spawn, note = partial(_spawn, model, workshop), partial(workshop.note, model.id)
    async with Supervisor(model.id, spawn, settings.fleet, breaker=care.breaker, note=note) as supervisor:
        rows = settings.engine.max_rows
        engine = SurvivingEngine(supervisor, settings.fleet, care.quarantine, places=places, rows=rows)
        task = task_for(model, settings.models)
        if task == "generate":
            words = await workshop.words_cache.words(model, settings.models)
            yield Resident(model=model, engine=engine, generator=ModelGenerator(words, engine, workshop.pool, workshop.adapter_of))
        else:
            yield await _vector_resident(model, task, engine, workshop.pool)


async def _vector_resident(model: ResolvedModel, task: Task, engine: SurvivingEngine, pool: Executor) -> Resident:
    reading = await asyncio.get_running_loop().run_in_executor(pool, load_reading, model.path, task)
    return Resident(
        model=model,
        engine=engine,
        generator=NoWords(model.id, task),
        embedder=ModelEmbedder(reading, engine, pool) if task == "embed" else None,
        reranker=ModelReranker(reading, engine, pool) if task == "rerank" else None,
    )


def _spawn(model: ResolvedModel, workshop: Workshop, kv_share: float) -> EngineClient:
    settings = workshop.settings
    launch = partial(
        Launch,
        model=model.id,
        folder=model.path,
        cache_folder=workshop.cache_folder,
        heartbeat_seconds=settings.fleet.heartbeat_seconds,
        engine=_with_share(settings.engine, kv_share),
        models=settings.models,
        logging=_as_shown_here(settings.logging),
        draft=workshop.draft,
        vectors=settings.vectors,
        task=task_for(model, settings.models),
    )
    return EngineClient(workshop.starter.start, lambda address: launch(address=address), settings.fleet, workshop.pressed)


def _as_shown_here(settings: LoggingSettings) -> LoggingSettings:
    """An engine writes to a pipe, and what comes out of it is shown where we write."""
    human = settings.format == "auto" and sys.stderr.isatty()
    return settings.model_copy(update={"format": "human"}) if human else settings


def _with_share(settings: EngineSettings, share: float) -> EngineSettings:
    """With so much of the memory for keys and values."""
    if share == 1.0:
        return settings
    given = settings.kv_cache_bytes
    return settings.model_copy(
        update={"kv_cache_share": settings.kv_cache_share * share, "kv_cache_bytes": None if given is None else int(given * share)}
    )
