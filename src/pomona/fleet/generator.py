"""Requests in words to events in words: the text side before and behind an engine."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from pomona.core.generation import Finished, GenerateEvent, GenerateRequest, Started, TokenStep
from pomona.core.messages import Message
from pomona.core.ports import TokenSource
from pomona.core.status import ModelFacts
from pomona.core.tracing.marks import AnswerTrace
from pomona.fleet.diagnosis import Comparison, PromptMemory, comparable_ids
from pomona.pictures.blindness import holds_pictures, without_pictures
from pomona.pictures.geometry.facts import VisionFacts
from pomona.text.output import TextOutput
from pomona.text.pictures.writing import PictureWriting
from pomona.text.prompt import PlannedPrompt, PromptBuilder
from pomona.text.templates import ChatTemplate
from pomona.text.tokenizer import Tokenizer


class Engine(TokenSource, Protocol):
    """A token source with a limited number of places, that knows its model once it is loaded."""

    def place(self) -> AbstractAsyncContextManager[ModelFacts]:
        """A place for one request. Waits for the model, within bounds; raises Overloaded, NotReady, or why it cannot be loaded."""
        ...


class Pictures(Protocol):
    """Prepares pictures for models."""

    async def prepare(self, messages: Sequence[Message], vision: VisionFacts) -> tuple[Message, ...]:
        """`messages` with pictures as a model of these facts takes them. Raises PictureRefused and UnsupportedField."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Eyes:
    """How a model sees: what it asks of pictures, how its prompts speak of them, and who prepares them."""

    vision: VisionFacts
    writing: PictureWriting
    pictures: Pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """How a model reads and writes."""

    tokenizer: Tokenizer
    template: ChatTemplate | None
    constrain_calls: bool = True
    """Calls that the model is free to make fit the tools' schemas."""
    eyes: Eyes | None = None
    """None: it takes no pictures."""

    def builder(self, *, max_context: int, vocabulary: int | None = None) -> PromptBuilder:
        """What builds prompts for it. `max_context` is in tokens; `vocabulary` the number of ids that the model can embed."""
        return PromptBuilder(
            self.tokenizer,
            self.template,
            max_context=max_context,
            vocabulary=vocabulary,
            constrain_calls=self.constrain_calls,
            pictures=self.eyes.writing if self.eyes else None,
        )

    async def seen(self, request: GenerateRequest) -> GenerateRequest:
        """`request` with its pictures as this model takes them. Raises PictureRefused and UnsupportedField."""
        if request.messages is None or not holds_pictures(request.messages):
            return request
        if self.eyes is None:
            return replace(request, messages=without_pictures(request.messages, request.model))
        return replace(request, messages=await self.eyes.pictures.prepare(request.messages, self.eyes.vision))


AdapterOf = Callable[[str], Path | None]
"""The folder of the adapter that the name of a request's model stands for; None for a model alone. Raises AdapterUnusable."""


def no_adapter(_: str) -> None:
    """All names are those of the model alone."""


class ModelGenerator:
    """A Generator for one model and its adapters. Prompts are built in `pool`, because tokenising a long text takes a while."""

    def __init__(self, words: Words, engine: Engine, pool: Executor, adapter_of: AdapterOf = no_adapter) -> None:
        self._words = words
        self._engine = engine
        self._pool = pool
        self._adapter_of = adapter_of
        self._memory = PromptMemory()

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateEvent]:
        """Answer `request`. A stop string, or the end of the reader, cancels the engine's row."""
        trace = request.trace or AnswerTrace()
        trace.enter("place")
        async with self._engine.place() as facts:
            if request.messages is not None and holds_pictures(request.messages):
                trace.enter("pictures")
            request = await self._words.seen(request)
            builder = self._words.builder(max_context=facts.max_context, vocabulary=facts.vocabulary)
            trace.enter("threads")
            planned = await asyncio.get_running_loop().run_in_executor(self._pool, self._plan, builder, request, trace)
            prompt = planned.prompt
            seen_before = self._memory.compare(request, comparable_ids(prompt))
            output = TextOutput(
                self._words.tokenizer,
                request,
                len(prompt.token_ids),
                plan=planned.answer,
                prompt_ids=prompt.token_ids,
                picture_tokens=sum(picture.length for picture in prompt.pictures),
            )
            trace.enter_engine(len(prompt.token_ids))
            async with aclosing(self._engine.stream(prompt)) as steps:
                # the engine alone can say whether it can use an adapter, and does so before it computes anything
                step = await _next(steps, trace) if prompt.adapter else TokenStep()
                yield Started(prompt_tokens=len(prompt.token_ids))
                trace.note_handed()
                while not output.finished:
                    for event in output.push(step):
                        trace.note_parsed()
                        yield _diagnosed(event, seen_before)
                        trace.note_handed()
                    trace.note_parsed()
                    step = step if output.finished else await _next(steps, trace)

    def _plan(self, builder: PromptBuilder, request: GenerateRequest, trace: AnswerTrace) -> PlannedPrompt:
        trace.enter("template")
        adapter = self._adapter_of(request.model)
        planned = builder.plan(request)
        return planned if adapter is None else replace(planned, prompt=replace(planned.prompt, adapter=str(adapter)))


async def _next(steps: AsyncGenerator[TokenStep], trace: AnswerTrace) -> TokenStep:
    step = await anext(steps)
    trace.note_awaited()
    trace.tokens += len(step.token_ids)
    trace.cached_tokens = max(trace.cached_tokens, step.cached_tokens)
    if step.times is not None:
        trace.note_times(step.times, last=step.finish_reason is not None)
    return step


def _diagnosed(event: GenerateEvent, seen_before: Comparison | None) -> GenerateEvent:
    if seen_before is None or not isinstance(event, Finished):
        return event
    return replace(event, cache=seen_before.report(event.usage.cached_tokens))
