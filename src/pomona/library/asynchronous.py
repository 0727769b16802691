"""Models in a program that has an event loop."""

import asyncio
import os
import time
import warnings
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pomona.app import App, load_app, read_settings
from pomona.core.errors import Conflict, InvalidRequest, NotFound, PomonaError
from pomona.core.events import Event, Following
from pomona.core.generation import GenerateEvent, GenerateRequest, TextDelta, TokenText
from pomona.core.hub import FitReport, HubModel, Quantization
from pomona.core.settings import ModelOverrides, Settings
from pomona.core.status import EngineReport, MemoryReport, ModelCard, ModelStatus, UnloadReport
from pomona.core.vectors import EmbedRequest, RerankRequest, VectorKind
from pomona.fleet.assembly import Fleet
from pomona.library.answers import Answer, Collector
from pomona.library.getting import Getting, Note, wanted
from pomona.library.options import Messages, Text, ValidationFailed, chat_call, issue_of, single, text_call, texts_of
from pomona.library.running import Register
from pomona.server.openai.call import new_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """How an engine is, now."""

    models: tuple[ModelStatus, ...]
    engines: tuple[EngineReport, ...]
    memory: MemoryReport
    running: tuple[str, ...]
    """Ids of the requests that are being answered."""


class AsyncEngine:
    """Models of this machine, by name. `async with` starts and ends it; nothing is loaded before it is asked for, but for `model`.

    `settings` are those of configuration files, by their dotted names (`{"engine.max_rows": 8}`); files and environment count too. Each
    model runs in a process of its own, as under `pomona serve`. With `in_process` one model at a time runs in a thread of this process: it
    starts quicker, and if it fails, so does the program.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        settings: Mapping[str, object] | None = None,
        profile: str | None = None,
        in_process: bool = False,
    ) -> None:
        self._named = model
        self._settings: dict[str, object] = {"logging.level": "warning", **(settings or {})}
        self._profile = profile
        self._in_process = in_process
        self._stack = AsyncExitStack()
        self._fleet: Fleet | None = None
        self._app: App | None = None
        self._getting: Getting | None = None
        self._process = os.getpid()
        self._register = Register()
        self.model = model or ""
        """The model that is meant where a call names none."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __del__(self) -> None:
        if getattr(self, "_fleet", None) is not None and self._process == os.getpid():
            advice = f"{self!r} was not closed. Use it in `async with`, or await its `close`."
            warnings.warn(advice, ResourceWarning, stacklevel=2, source=self)

    async def start(self) -> None:
        """Start, and load the model that was named. Raises ConfigurationError, ModelNotFound, ModelUnusable, DoesNotFit, EngineFailed."""
        if self._fleet is not None:
            raise Conflict("This engine has been started already.")
        named = {"models.default": self._named} if self._named else {}
        app = self._app = load_app(read_settings({**self._settings, **named}, self._profile).settings, in_process=self._in_process)
        self.model, self._process = app.model, os.getpid()
        try:
            fleet = self._fleet = await self._stack.enter_async_context(app.open())
            self._getting = Getting.of(app.settings, fleet.loaded_folders)
            if self._named:
                await self.load()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End every answer, unload everything and leave no process behind. Does nothing the second time."""
        for request in list(self._register.answers):
            self.cancel(request)
        self._fleet = None
        await self._stack.aclose()

    async def load(self, model: str | None = None, *, keep_alive: float | None = None, pin: bool = False, **overrides: Any) -> ModelStatus:
        """Load and warm up `model`; at once if it is there. `keep_alive` is in seconds after its last use, -1 for ever.

        `overrides` are the fields of `models.overrides`, such as `draft` or `kv_bits`; a model that is loaded is loaded anew for them.
        """
        name = self._card(model).id
        if overrides:
            await self._override(name, overrides)
        status = await self._parts.residency.load(name, keep_alive_seconds=keep_alive)
        return await self._parts.residency.pin(name, pinned=True) if pin else status

    async def unload(self, model: str | None = None, *, force: bool = False) -> UnloadReport:
        """Unload `model` once its answers have ended; `force` ends them. Raises Conflict where it is not loaded."""
        return await self._parts.residency.unload(self._card(model).id, force=force)

    async def warm_up(self, model: str | None = None, *, prompts: Sequence[str] = ("Hello",), max_tokens: int = 8) -> float:
        """Load `model` and let it answer `prompts`, whose beginnings stay in its cache; the seconds that this took."""
        began = time.monotonic()
        await self.load(model)
        for prompt in prompts:
            await self.generate(prompt, model=model, max_tokens=max_tokens, temperature=0)
        return time.monotonic() - began

    async def generate(self, prompt: Text, *, model: str | None = None, **options: Any) -> Answer:
        """Go on with a text (or ids), without a chat template. Options are the fields of OpenAI's completions, and `schema`, `priority`,
        `keep_alive`, `timeout_seconds`, `id`. Raises ValidationFailed.
        """
        return await self._answer(single(text_call(prompt, self._card(model), options)), options)

    def stream(self, prompt: Text, *, model: str | None = None, **options: Any) -> AsyncGenerator[GenerateEvent]:
        """As `generate`, event by event (`pomona.core.generation`): TextDelta and so on, at last Finished. Closing it ends the work."""
        return self._events(single(text_call(prompt, self._card(model), options)), options)

    async def chat(self, messages: Messages, *, model: str | None = None, **options: Any) -> Answer:
        """Answer a conversation in OpenAI's form, or one text of the user. Options are the fields of OpenAI's chat completions, those of
        `generate` that are ours, and `images`: files, addresses, bytes or PIL images, for the last message. Raises ValidationFailed.
        """
        return await self._answer(single(chat_call(messages, self._card(model), options)), options)

    def stream_chat(self, messages: Messages, *, model: str | None = None, **options: Any) -> AsyncGenerator[GenerateEvent]:
        """As `chat`, event by event."""
        return self._events(single(chat_call(messages, self._card(model), options)), options)

    async def stream_text(self, messages: Messages, *, model: str | None = None, **options: Any) -> AsyncGenerator[str]:
        """As `chat`, but only the text of the answer, as it comes."""
        async with aclosing(self.stream_chat(messages, model=model, **options)) as events:
            async for event in events:
                if isinstance(event, TextDelta) and event.text:
                    yield event.text

    async def batch(
        self, prompts: Sequence[Messages], *, model: str | None = None, return_errors: bool = False, **options: Any
    ) -> list[Answer | PomonaError]:
        """Answer many conversations together, in one batch as far as there is room; in their order.

        With `return_errors` a failure takes the place of its answer, else the first one is raised and the rest cancelled.
        """
        card = self._card(model)
        requests = [single(chat_call(each, card, options)) for each in prompts]
        if return_errors:
            results = await asyncio.gather(*(self._answer(request, options) for request in requests), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException) and not isinstance(result, PomonaError):
                    raise result
            return [result for result in results if not isinstance(result, BaseException) or isinstance(result, PomonaError)]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._answer(request, options)) for request in requests]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    async def tokenize(self, text: str, *, model: str | None = None, special_tokens: bool = True) -> list[int]:
        """The ids of `text`; `special_tokens` adds those that the model expects at the beginning."""
        return [token.token_id for token in await self.tokens(text, model=model, special_tokens=special_tokens)]

    async def tokens(self, text: str, *, model: str | None = None, special_tokens: bool = True) -> list[TokenText]:
        """The tokens of `text`, with the text and bytes of each."""
        return await self._parts.tokenization.encode(self._card(model).id, text, special_tokens=special_tokens)

    async def detokenize(self, token_ids: Sequence[int], *, model: str | None = None) -> str:
        """The text of ids, special tokens included."""
        return await self._parts.tokenization.decode(self._card(model).id, token_ids)

    async def render(self, messages: Messages, *, model: str | None = None, **options: Any) -> tuple[str | None, tuple[int, ...]]:
        """A conversation as the model reads it: the text that its template makes, and its ids."""
        rendered = await self._parts.tokenization.render(single(chat_call(messages, self._card(model), options)))
        return rendered.text, rendered.token_ids

    async def embed(
        self, texts: str | Sequence[str], *, model: str | None = None, kind: VectorKind | None = None, dimensions: int | None = None
    ) -> NDArray[np.float32]:
        """(texts, dimensions), one vector a text. Models that know queries from documents take `kind`."""
        inputs = (texts,) if isinstance(texts, str) else texts_of("inputs", texts)
        request = EmbedRequest(id=new_id("embd"), model=self._card(model).id, inputs=inputs, kind=kind, dimensions=dimensions)
        made = await self._parts.embedder.embed(request)
        return np.frombuffer(made.data, dtype="<f4").reshape(len(inputs), made.dimensions)

    async def rerank(self, query: str, documents: Sequence[str], *, model: str | None = None) -> list[float]:
        """How relevant each document is, from 0 to 1."""
        request = RerankRequest(id=new_id("rank"), model=self._card(model).id, query=query, documents=texts_of("documents", documents))
        return list((await self._parts.reranker.rerank(request)).scores)

    async def pull(
        self,
        reference: str,
        *,
        quantize: Quantization | None = None,
        alias: str | None = None,
        force: bool = False,
        progress: Note | None = None,
    ) -> str:
        """Have a model of the hub here (ORGANISATION/NAME, ...@REVISION, .../FILE.gguf), and the name to ask for it by.

        It goes on where an earlier try stopped. `progress` is called in another thread. Raises ModelNotFound, Forbidden, DoesNotFit,
        HubFailed.
        """
        return await self._hub.pull(wanted(reference, quantize, alias, force=force), progress)

    async def search(self, query: str, *, limit: int = 20, sort: str = "downloads", mlx_only: bool = True) -> list[HubModel]:
        """Models of the hub; `sort` is downloads, likes, created or updated. Raises HubFailed."""
        return await self._hub.search(query, limit=limit, sort=sort, mlx_only=mlx_only)

    async def describe(self, reference: str) -> tuple[HubModel, FitReport]:
        """A model of the hub, and whether it fits into this machine's memory and disk. Raises ModelNotFound, Forbidden, HubFailed."""
        return await self._hub.describe(reference)

    async def remove(self, model: str) -> int:
        """Delete the files of a model; the bytes that were freed. Raises ModelNotFound, Conflict where it is loaded or bundled."""
        return await self._hub.remove(model)

    def alias(self, name: str, model: str | None) -> None:
        """Let `name` stand for `model`; None takes it back. Raises ModelNotFound, InvalidRequest, Conflict, NotFound."""
        self._hub.alias(name, model)

    def cancel(self, request: str) -> bool:
        """End the answer of that id; whoever waits for it gets Cancelled. False where none runs."""
        return self._register.cancel(request)

    def add(self, folder: str | Path, *, name: str | None = None) -> str:
        """Let a model's folder be asked for by `name`, or by its own, until this engine ends; the name. Raises ModelUnusable, Conflict."""
        return self._running_app.add_folder(Path(folder), name)

    @property
    def settings(self) -> Settings:
        """Those in force. Raises Conflict where the engine is not running."""
        return self._running_app.settings

    def models(self) -> list[ModelCard]:
        """What can be asked for."""
        return self._parts.directory.models()

    def status(self, model: str | None = None) -> ModelStatus:
        """How one model is. Raises ModelNotFound."""
        name = self._card(model).id
        found = next((each for each in self._parts.residents.statuses() if name in {each.id, *each.aliases}), None)
        if found is None:
            raise NotFound(f"Nothing is known of {name!r}.")
        return found

    def stats(self) -> Stats:
        """Models, engines, memory and running requests."""
        parts = self._parts
        return Stats(
            models=parts.residents.statuses(),
            engines=parts.status.status(),
            memory=parts.residents.memory(),
            running=tuple(self._register.answers),
        )

    @contextmanager
    def events(self, *, tokens: bool = False) -> Generator[AsyncGenerator[Event]]:
        """All that happens from now on (`pomona.core.events`), to be iterated; `tokens` includes every piece of every answer.

        with engine.events() as events:
            async for event in events: ...
        """
        with self._parts.events.following(tokens=tokens) as following:
            yield _unnumbered(following)

    async def _override(self, name: str, overrides: Mapping[str, Any]) -> None:
        try:
            self._parts.override(name, ModelOverrides.model_validate(overrides))
        except ValidationError as error:
            raise ValidationFailed([issue_of(problem) for problem in error.errors(include_url=False)]) from None
        if self.status(name).state == "ready":
            await self._parts.residency.unload(name)

    @property
    def _parts(self) -> Fleet:
        if self._fleet is None:
            raise Conflict("This engine is not running. Use it in `async with`, or call `start` first.")
        return self._fleet

    @property
    def _running_app(self) -> App:
        if self._fleet is None or self._app is None:
            raise Conflict("This engine is not running. Use it in `async with`, or call `start` first.")
        return self._app

    @property
    def _hub(self) -> Getting:
        if self._fleet is None or self._getting is None:
            raise Conflict("This engine is not running. Use it in `async with`, or call `start` first.")
        return self._getting

    def _card(self, model: str | None) -> ModelCard:
        return self._parts.directory.find(model or self.model)

    async def _answer(self, request: GenerateRequest, options: Mapping[str, Any]) -> Answer:
        collector = Collector(id=request.id, model=request.model)
        with self._register.entered(request.id, _seconds(options)) as answering:
            return await answering.wait(collector.collect(self._parts.generator.generate(request)))

    async def _events(self, request: GenerateRequest, options: Mapping[str, Any]) -> AsyncGenerator[GenerateEvent]:
        with self._register.entered(request.id, _seconds(options)) as answering:
            async with aclosing(self._parts.generator.generate(request)) as events:
                answering.source = events
                while True:
                    try:
                        event = await answering.wait(anext(events))
                    except StopAsyncIteration:
                        return
                    yield event


async def _unnumbered(following: Following) -> AsyncGenerator[Event]:
    async for numbered in following:
        yield numbered.event


def _seconds(options: Mapping[str, Any]) -> float | None:
    value = options.get("timeout_seconds")
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
        raise InvalidRequest(f"timeout_seconds = {value!r} must be a positive number of seconds.", param="timeout_seconds")
    return float(value)
