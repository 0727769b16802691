"""One model with an engine process of its own, and what stands before it. Whatever its task, this is how it comes to life."""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pomona.core.generation import SamplingParams
from pomona.core.ports import Generator, Tokenization
from pomona.core.settings import Settings
from pomona.engine.protocol import Launch
from pomona.fleet.generator import ModelGenerator, Words
from pomona.fleet.process.client import EngineClient
from pomona.fleet.sampling_defaults import sampling_defaults
from pomona.fleet.supervisor import Supervisor
from pomona.fleet.tokenization import ModelTokenization
from pomona.models.references import ResolvedModel
from pomona.text.templates import load_chat_template
from pomona.text.tokenizer_loading import load_tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What all engines of one Pomona are made with: the command of an engine process, where caches go, threads for text."""

    command: tuple[str, ...]
    cache_folder: Path
    settings: Settings
    pool: Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """A model in memory, or on its way there."""

    model: ResolvedModel
    engine: Supervisor
    generator: Generator
    tokenization: Tokenization
    sampling_defaults: SamplingParams


@asynccontextmanager
async def open_resident(model: ResolvedModel, workshop: Workshop) -> AsyncGenerator[Resident]:
    """Start `model`'s engine; it loads while the caller goes on (`Resident.engine.loaded` waits). Its memory is free at the end.

    Raises ModelUnusable for a tokenizer or template that cannot be read.
    """
    settings = workshop.settings
    places = settings.engine.max_rows + settings.engine.max_waiting
    async with Supervisor(model.id, partial(_spawn, model, workshop), settings.fleet, places=places) as engine:
        words = await asyncio.get_running_loop().run_in_executor(workshop.pool, _load_words, model, settings)
        yield Resident(
            model=model,
            engine=engine,
            generator=ModelGenerator(words, engine, workshop.pool),
            tokenization=ModelTokenization(words, workshop.pool),
            sampling_defaults=sampling_defaults(model.path) if settings.models.use_generation_config else SamplingParams(),
        )


def _spawn(model: ResolvedModel, workshop: Workshop) -> EngineClient:
    settings = workshop.settings
    launch = partial(
        Launch,
        model=model.id,
        folder=model.path,
        cache_folder=workshop.cache_folder,
        heartbeat_seconds=settings.fleet.heartbeat_seconds,
        engine=settings.engine,
        models=settings.models,
        logging=settings.logging,
    )
    return EngineClient(workshop.command, lambda address: launch(address=address), settings.fleet)


def _load_words(model: ResolvedModel, settings: Settings) -> Words:
    tokenizer = load_tokenizer(model.path)
    template = load_chat_template(model.path, variables=tokenizer.template_variables, override=settings.models.chat_template)
    return Words(tokenizer=tokenizer, template=template, constrain_calls=settings.models.constrain_tool_calls)
