"""One answer as chunks, with the events that go with it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from pomona.compat.mlx_serving.describing import figures_of, now
from pomona.compat.mlx_serving.emitter import Emitter
from pomona.compat.mlx_serving.errors import translate
from pomona.compat.mlx_serving.params import GeneratorOptions, GeneratorParams, VisionParams
from pomona.core.errors import PomonaError
from pomona.core.generation import Finished, GenerateEvent, Started, TextDelta, TokenText, Usage
from pomona.library import AsyncEngine
from pomona.server.openai.call import new_id

Chunk = dict[str, Any]
METHOD = "createGenerator"


@dataclass(slots=True, kw_only=True)
class Answering:
    """What is known of an answer while it comes."""

    id: str
    params: GeneratorParams
    options: GeneratorOptions
    emitter: Emitter
    began: float = field(default_factory=time.monotonic)
    first: float | None = None
    texts: list[str] = field(default_factory=list[str])
    count: int = 0
    prompt_tokens: int = 0

    async def chunks(self, events: AsyncGenerator[GenerateEvent]) -> AsyncGenerator[Chunk]:
        """Tokens, at last `metadata`; a failure on the way is a last chunk, `error`."""
        self._tell("generation:started", modelId=self.params.model, prompt=self._prompt)
        try:
            async with aclosing(events):
                async for event in events:
                    for chunk in self._chunks_of(event):
                        yield chunk
                    if self._is_stopped(event):
                        yield self._metadata(Usage(prompt_tokens=self.prompt_tokens, completion_tokens=self.count))
                        return
        except PomonaError as error:
            found = translate(error, METHOD, timeout_ms=self.options.timeout_ms, request_id=self.id)
            self._tell("error", error=found.to_object(), context=METHOD)
            yield {"type": "error", "error": found.to_object()}

    def _chunks_of(self, event: GenerateEvent) -> list[Chunk]:
        if isinstance(event, Started):
            self.prompt_tokens = event.prompt_tokens
            return [self._images(event)] if isinstance(self.params, VisionParams) else []
        if isinstance(event, TextDelta):
            return self._tokens(event)
        if isinstance(event, Finished):
            whole = [] if self.params.streaming else [self._token("".join(self.texts), (), final=True)]
            return [*whole, self._metadata(event.usage)]
        return []

    def _tokens(self, event: TextDelta) -> list[Chunk]:
        """A chunk for each token, but one for all where tokens and text do not match: where text was held back, or a character is many."""
        before, stopping = _split(event.logprobs, self.params.stop_token_ids or ())
        text = event.text.removesuffix("".join(token.text for token in stopping)) if stopping else event.text
        self.count += bool(stopping)
        if self.first is None:
            self.first = time.monotonic() - self.began
        if text == "".join(token.text for token in before):
            return [chunk for token in before for chunk in self._piece(token.text, (token,))]
        return self._piece(text, before)

    def _piece(self, text: str, tokens: tuple[TokenText, ...]) -> list[Chunk]:
        self.texts.append(text)
        self.count += len(tokens)
        if self.emitter.hears("generation:token"):
            score = {"logprob": tokens[0].logprob} if len(tokens) == 1 else {}
            stats = figures_of(Usage(completion_tokens=self.count), self.params.model, self.first, time.monotonic() - self.began)
            self._tell("generation:token", token=text, stats=stats, **score)
        return [self._token(text, tokens)] if self.params.streaming else []

    def _token(self, text: str, tokens: tuple[TokenText, ...], *, final: bool = False) -> Chunk:
        known = {"tokenId": tokens[0].token_id, "logprob": tokens[0].logprob} if len(tokens) == 1 else {}
        return {"type": "token", "token": text, **known, "isFinal": final, "cumulativeText": "".join(self.texts)}

    def _is_stopped(self, event: GenerateEvent) -> bool:
        stops = self.params.stop_token_ids or ()
        return isinstance(event, TextDelta) and any(token.token_id in stops for token in event.logprobs)

    def _metadata(self, usage: Usage) -> Chunk:
        stats = figures_of(usage, self.params.model, self.first, time.monotonic() - self.began)
        self._tell("generation:completed", stats=stats)
        return {"type": "metadata", "stats": stats}

    def _images(self, event: Started) -> Chunk:
        count = len(self.params.pictures()) if isinstance(self.params, VisionParams) else 0
        return {"type": "image_processed", "imageMetadata": {"numImages": count, "totalTokens": event.prompt_tokens}}

    @property
    def _prompt(self) -> str:
        text = self.params.text
        return text if isinstance(text, str) else f"<{len(text)} tokens>"

    def _tell(self, name: str, **payload: Any) -> None:
        own = {} if name == "error" else {"streamId": self.id}
        self.emitter.emit(name, {**own, **payload, "timestamp": now()})


def begin(engine: AsyncEngine, params: GeneratorParams, options: GeneratorOptions, emitter: Emitter) -> AsyncGenerator[Chunk]:
    """Begin an answer. Raises what is wrong with its parameters at once."""
    answering = Answering(id=options.stream_id or new_id("stream"), params=params, options=options, emitter=emitter)
    chosen = params.options() | {
        "id": answering.id,
        "priority": {"urgent": "high", "background": "low"}.get(options.priority, "normal"),
        "timeout_seconds": None if options.timeout_ms is None else options.timeout_ms / 1000,
    }
    pictures = _pictures(params)
    if pictures:
        text = params.text if isinstance(params.text, str) else ""
        events = engine.stream_chat(text, model=params.model, images=pictures, logprobs=True, top_logprobs=0, **chosen)
    else:
        events = engine.stream(params.text, model=params.model, logprobs=0, **chosen)
    return _heeding(options.signal, answering.chunks(events), lambda: engine.cancel(answering.id))


async def _heeding(signal: Any, chunks: AsyncGenerator[Chunk], cancel: Callable[[], object]) -> AsyncGenerator[Chunk]:
    """The chunks, until `signal` is set."""
    async with aclosing(chunks):
        if signal is None:
            async for chunk in chunks:
                yield chunk
            return
        waiting = asyncio.create_task(_then(signal.wait(), cancel))
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            waiting.cancel()


async def _then(waited: Awaitable[object], call: Callable[[], object]) -> None:
    await waited
    call()


def _pictures(params: GeneratorParams) -> list[Any]:
    if isinstance(params, VisionParams):
        return params.pictures()
    return params.multimodal.pictures() if params.multimodal is not None else []


def _split(tokens: tuple[TokenText, ...], stops: Any) -> tuple[tuple[TokenText, ...], tuple[TokenText, ...]]:
    """Tokens before the first that stops, and the others."""
    place = next((index for index, token in enumerate(tokens) if token.token_id in stops), len(tokens))
    return tokens[:place], tokens[place:]
