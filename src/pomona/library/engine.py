"""Models in a program without an event loop: `AsyncEngine` on a thread of its own."""

import atexit
import warnings
import weakref
from collections.abc import AsyncGenerator, Coroutine, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import Conflict, PomonaError
from pomona.core.events import Event
from pomona.core.generation import GenerateEvent, TokenText
from pomona.core.hub import FitReport, HubModel, Quantization
from pomona.core.status import ModelCard, ModelStatus, UnloadReport
from pomona.core.vectors import VectorKind
from pomona.library.answers import Answer
from pomona.library.asynchronous import AsyncEngine, Stats
from pomona.library.getting import Note
from pomona.library.options import Messages, Text
from pomona.library.threads import LoopThread

T = TypeVar("T")


class Engine:
    """Models of this machine, by name. `with` starts and ends it. May be used from several threads.

    Arguments, options and errors are those of `AsyncEngine`; what iterates there iterates here.

        with Engine("pomona-tiny") as engine:
            print(engine.chat("Say hello."))
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        settings: Mapping[str, object] | None = None,
        profile: str | None = None,
        in_process: bool = False,
    ) -> None:
        self._engine = AsyncEngine(model, settings=settings, profile=profile, in_process=in_process)
        self._thread: LoopThread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def model(self) -> str:
        """The model that is meant where a call names none."""
        return self._engine.model

    def start(self) -> None:
        """Start, and load the model that was named."""
        if self._thread is not None:
            raise Conflict("This engine has been started already.")
        self._thread = LoopThread("pomona-engine")
        try:
            self._run(self._engine.start())
        except BaseException:
            self._stop()
            raise
        _RUNNING.add(self)

    def close(self) -> None:
        """End every answer, unload everything and leave no process behind. Does nothing the second time, nor in a fork."""
        if self._thread is not None:
            try:
                if self._thread.is_here:
                    self._run(self._engine.close())
            finally:
                self._stop()

    def __del__(self) -> None:
        thread = getattr(self, "_thread", None)
        self._thread = None
        if thread is not None and thread.is_here:
            thread.leave(self._engine.close())
            advice = f"{self!r} was not closed. Use it in `with`, or call `close`."
            warnings.warn(advice, ResourceWarning, stacklevel=2, source=self)

    def load(self, model: str | None = None, *, keep_alive: float | None = None, pin: bool = False, **overrides: Any) -> ModelStatus:
        """Load and warm up a model; at once if it is there."""
        return self._run(self._engine.load(model, keep_alive=keep_alive, pin=pin, **overrides))

    def unload(self, model: str | None = None, *, force: bool = False) -> UnloadReport:
        """Unload a model once its answers have ended."""
        return self._run(self._engine.unload(model, force=force))

    def warm_up(self, model: str | None = None, *, prompts: Sequence[str] = ("Hello",), max_tokens: int = 8) -> float:
        """Load a model and let it answer `prompts`; the seconds that this took."""
        return self._run(self._engine.warm_up(model, prompts=prompts, max_tokens=max_tokens))

    def generate(self, prompt: Text, *, model: str | None = None, **options: Any) -> Answer:
        """Go on with a text (or ids), without a chat template."""
        return self._run(self._engine.generate(prompt, model=model, **options))

    def stream(self, prompt: Text, *, model: str | None = None, **options: Any) -> Generator[GenerateEvent]:
        """As `generate`, event by event. Leaving the loop ends the work."""
        return self._iterate(self._call(self._engine.stream, prompt, model=model, **options))

    def chat(self, messages: Messages, *, model: str | None = None, **options: Any) -> Answer:
        """Answer a conversation in OpenAI's form, or one text of the user."""
        return self._run(self._engine.chat(messages, model=model, **options))

    def stream_chat(self, messages: Messages, *, model: str | None = None, **options: Any) -> Generator[GenerateEvent]:
        """As `chat`, event by event."""
        return self._iterate(self._call(self._engine.stream_chat, messages, model=model, **options))

    def stream_text(self, messages: Messages, *, model: str | None = None, **options: Any) -> Generator[str]:
        """As `chat`, but only the text of the answer, as it comes."""
        return self._iterate(self._engine.stream_text(messages, model=model, **options))

    def batch(
        self, prompts: Sequence[Messages], *, model: str | None = None, return_errors: bool = False, **options: Any
    ) -> list[Answer | PomonaError]:
        """Answer many conversations together, in their order."""
        return self._run(self._engine.batch(prompts, model=model, return_errors=return_errors, **options))

    def tokenize(self, text: str, *, model: str | None = None, special_tokens: bool = True) -> list[int]:
        """The ids of `text`."""
        return self._run(self._engine.tokenize(text, model=model, special_tokens=special_tokens))

    def tokens(self, text: str, *, model: str | None = None, special_tokens: bool = True) -> list[TokenText]:
        """The tokens of `text`, with the text and bytes of each."""
        return self._run(self._engine.tokens(text, model=model, special_tokens=special_tokens))

    def detokenize(self, token_ids: Sequence[int], *, model: str | None = None) -> str:
        """The text of ids, special tokens included."""
        return self._run(self._engine.detokenize(token_ids, model=model))

    def render(self, messages: Messages, *, model: str | None = None, **options: Any) -> tuple[str | None, tuple[int, ...]]:
        """A conversation as the model reads it: text and ids."""
        return self._run(self._engine.render(messages, model=model, **options))

    def embed(
        self, texts: str | Sequence[str], *, model: str | None = None, kind: VectorKind | None = None, dimensions: int | None = None
    ) -> NDArray[np.float32]:
        """(texts, dimensions), one vector a text."""
        return self._run(self._engine.embed(texts, model=model, kind=kind, dimensions=dimensions))

    def rerank(self, query: str, documents: Sequence[str], *, model: str | None = None) -> list[float]:
        """How relevant each document is, from 0 to 1."""
        return self._run(self._engine.rerank(query, documents, model=model))

    def pull(
        self,
        reference: str,
        *,
        quantize: Quantization | None = None,
        alias: str | None = None,
        force: bool = False,
        progress: Note | None = None,
    ) -> str:
        """Have a model of the hub here, and the name to ask for it by. `progress` is called in another thread."""
        return self._run(self._engine.pull(reference, quantize=quantize, alias=alias, force=force, progress=progress))

    def search(self, query: str, *, limit: int = 20, sort: str = "downloads", mlx_only: bool = True) -> list[HubModel]:
        """Models of the hub."""
        return self._run(self._engine.search(query, limit=limit, sort=sort, mlx_only=mlx_only))

    def describe(self, reference: str) -> tuple[HubModel, FitReport]:
        """A model of the hub, and whether it fits here."""
        return self._run(self._engine.describe(reference))

    def remove(self, model: str) -> int:
        """Delete the files of a model; the bytes that were freed."""
        return self._run(self._engine.remove(model))

    def alias(self, name: str, model: str | None) -> None:
        """Let `name` stand for `model`; None takes it back."""
        self._call(self._engine.alias, name, model)

    def cancel(self, request: str) -> bool:
        """End the answer of that id, from any thread. False where none runs."""
        return self._call(self._engine.cancel, request)

    def add(self, folder: str | Path, *, name: str | None = None) -> str:
        """Let a model's folder be asked for by `name`, or by its own, until this engine ends."""
        return self._call(self._engine.add, folder, name=name)

    def models(self) -> list[ModelCard]:
        """What can be asked for."""
        return self._call(self._engine.models)

    def status(self, model: str | None = None) -> ModelStatus:
        """How one model is."""
        return self._call(self._engine.status, model)

    def stats(self) -> Stats:
        """Models, engines, memory and running requests."""
        return self._call(self._engine.stats)

    @contextmanager
    def events(self, *, tokens: bool = False) -> Generator[Generator[Event]]:
        """All that happens from now on, to be iterated.

        with engine.events() as events:
            for event in events: ...
        """
        watching = self._engine.events(tokens=tokens)
        events = self._iterate(self._call(watching.__enter__))
        try:
            yield events
        finally:
            events.close()
            self._call(watching.__exit__, None, None, None)

    def _call(self, function: Any, *arguments: Any, **options: Any) -> Any:
        """Call `function` where the engine lives."""

        async def call() -> Any:
            return function(*arguments, **options)

        return self._run(call())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for `work`, done in the engine's thread; interrupting the wait cancels it."""
        if self._thread is None:
            work.close()
            raise Conflict("This engine is not running. Use it in `with`, or call `start` first.")
        return self._thread.run(work)

    def _iterate(self, events: AsyncGenerator[T]) -> Generator[T]:
        try:
            while True:
                try:
                    yield self._run(_next(events))
                except StopAsyncIteration:
                    return
        finally:
            if self._thread is not None and self._thread.is_here:
                self._run(events.aclose())

    def _stop(self) -> None:
        _RUNNING.discard(self)
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()


_RUNNING: "weakref.WeakSet[Engine]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Programs that end without closing their engines leave no process behind."""
    for engine in list(_RUNNING):
        engine.close()


async def _next(events: AsyncGenerator[T]) -> T:
    return await anext(events)
