"""Stand-ins that keep the protocols of `pomona.core.ports`: they really run, only their answers are written down."""

import asyncio
import struct
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from pomona.core.errors import Conflict, ModelNotFound, PomonaError
from pomona.core.events import ErrorOccurred, EventBus, ModelLoaded, ModelUnloaded, runtime_code
from pomona.core.generation import Finished, FinishReason, GenerateEvent, GenerateRequest, Started, TextDelta, TokenText, Usage
from pomona.core.ports import RenderedPrompt
from pomona.core.status import EngineReport, MemoryPlan, MemoryReport, ModelCard, ModelStatus, UnloadReport
from pomona.core.vectors import Embeddings, EmbedRequest, Ranking, RerankRequest

Script = Sequence[GenerateEvent | asyncio.Event | Exception]
"""What a generator does for one request: yield events, wait for asyncio events, raise errors."""


def answer(*texts: str, prompt_tokens: int = 3, cached_tokens: int = 0, reason: FinishReason = "stop") -> list[GenerateEvent]:
    """The events of an answer of one token per text."""
    usage = Usage(prompt_tokens=prompt_tokens, cached_tokens=cached_tokens, completion_tokens=len(texts))
    return [Started(prompt_tokens=prompt_tokens), *(TextDelta(text=text) for text in texts), Finished(reason=reason, usage=usage)]


@dataclass(slots=True)
class ScriptedGenerator:
    """A Generator that replays scripts: the same one for every request, or what `choose` gives for each.

    `seen` are the requests in order of arrival, `closed_early` the ids of those that were closed or cancelled before the end,
    `running` counts those that are at work now, `pulled` the events that were taken. `ended` is set whenever one ends.
    """

    script: Script = ()
    choose: Callable[[GenerateRequest], Script] | None = None
    seen: list[GenerateRequest] = field(default_factory=list[GenerateRequest])
    closed_early: list[str] = field(default_factory=list[str])
    running: int = 0
    pulled: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def reset(self, script: Script) -> None:
        """Begin anew with `script`."""
        self.script, self.choose = script, None
        self.seen.clear()
        self.closed_early.clear()
        self.pulled = 0
        self.begun, self.ended = asyncio.Event(), asyncio.Event()

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateEvent]:
        """Replay the script for `request`."""
        self.seen.append(request)
        self.running += 1
        self.begun.set()
        complete = False
        try:
            for step in self.choose(request) if self.choose else self.script:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, Exception):
                    complete = True
                    raise step
                else:
                    await asyncio.sleep(0)  # as an engine does, let others run between two events
                    complete = isinstance(step, Finished)
                    self.pulled += 1
                    yield step
        finally:
            self.running -= 1
            if not complete:
                self.closed_early.append(request.id)
            self.ended.set()


@dataclass(slots=True)
class FixedDirectory:
    """A ModelDirectory of given cards. The first one stands in for names that match the pattern `stands_in`."""

    cards: list[ModelCard]
    stands_in: str = ""

    def models(self) -> list[ModelCard]:
        """The cards."""
        return self.cards

    def find(self, name: str) -> ModelCard:
        """The card of that name."""
        found = next((card for card in self.cards if card.id == name), None)
        if found is None and fnmatchcase(name, self.stands_in):
            found = self.cards[0]
        if found is None:
            names = ", ".join(repr(card.id) for card in self.cards)
            raise ModelNotFound(f"There is no model {name!r} here. Available: {names}.", param="model")
        return found


@dataclass(slots=True)
class FixedTokenization:
    """A Tokenization in which every word is a token, numbered by its length unless `known` says otherwise."""

    known: dict[str, int] = field(default_factory=dict[str, int])

    async def render(self, request: GenerateRequest) -> RenderedPrompt:
        """All words of the request."""
        if request.token_ids is not None:
            return RenderedPrompt(text=None, token_ids=request.token_ids)
        text = " ".join(message.text for message in request.messages or ()) if request.text is None else request.text
        return RenderedPrompt(text=text, token_ids=tuple(self._id(word) for word in text.split()))

    async def encode(self, model: str, text: str, *, special_tokens: bool = True) -> list[TokenText]:
        """A token per word."""
        return [TokenText(token_id=self._id(word), text=word, bytes=word.encode(), logprob=0.0) for word in text.split()]

    async def decode(self, model: str, token_ids: Sequence[int]) -> str:
        """Words of those lengths, up to 99."""
        return " ".join("x" * min(each, 99) for each in token_ids)

    def _id(self, word: str) -> int:
        return self.known.get(word, len(word))


@dataclass(slots=True)
class LengthEmbedder:
    """An Embedder of three dimensions whose vectors tell how long their texts are, and how many inputs there were.

    It waits for `hold` where there is one, and raises `error` where there is one; `seen` are the requests, `cut` the ids of those that
    were cancelled.
    """

    seen: list[EmbedRequest] = field(default_factory=list[EmbedRequest])
    cut: list[str] = field(default_factory=list[str])
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    hold: asyncio.Event | None = None
    error: PomonaError | None = None

    def reset(self) -> None:
        """Begin anew."""
        self.seen.clear()
        self.cut.clear()
        self.hold = self.error = None
        self.begun, self.ended = asyncio.Event(), asyncio.Event()

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """(length, number of inputs, 0.5) for each input; a token per word or id."""
        self.seen.append(request)
        self.begun.set()
        try:
            if self.hold is not None:
                await self.hold.wait()
        except asyncio.CancelledError:
            self.cut.append(request.id)
            raise
        finally:
            self.ended.set()
        if self.error is not None:
            raise self.error
        rows = [struct.pack("<3f", len(each), len(request.inputs), 0.5) for each in request.inputs]
        tokens = sum(len(each.split()) if isinstance(each, str) else len(each) for each in request.inputs)
        return Embeddings(data=b"".join(rows), dimensions=3, prompt_tokens=tokens)


@dataclass(slots=True)
class SharedWords:
    """A Reranker whose scores are the share of the query's words that a document has."""

    seen: list[RerankRequest] = field(default_factory=list[RerankRequest])

    async def rerank(self, request: RerankRequest) -> Ranking:
        """One score per document; a token per word."""
        self.seen.append(request)
        wanted = set(request.query.split())
        scores = tuple(len(wanted & set(each.split())) / len(wanted) for each in request.documents)
        tokens = sum(len(request.query.split()) + len(each.split()) for each in request.documents)
        return Ranking(scores=scores, prompt_tokens=tokens)


@dataclass(slots=True)
class FixedStatus:
    """An EngineStatus whose reports a test sets."""

    reports: tuple[EngineReport, ...]

    def status(self) -> tuple[EngineReport, ...]:
        """The reports."""
        return self.reports


GB = 2**30


MEMORY = MemoryReport(total=64 * GB, free=40 * GB, budget=50 * GB, planned=3 * GB, guard="safe")


def model_status(id: str, **changes: object) -> ModelStatus:
    """A model that is not loaded and would take 3 GB."""
    plan = MemoryPlan(weights=2 * GB, kv=GB // 2, activations=GB // 4, process=GB // 4)
    return replace(ModelStatus(id=id, source="hub", path=f"/models/{id}", keep_alive_seconds=300.0, plan=plan), **changes)  # pyright: ignore[reportArgumentType]


@dataclass(slots=True)
class ScriptedResidents:
    """A Residency and a ResidencyStatus: models come and go at once, unless `gate` is to be waited for or `failure` to be raised.

    `asked` are the calls in order, each as a tuple of its name and arguments.
    """

    models: list[ModelStatus]
    report: MemoryReport = MEMORY
    events: EventBus = field(default_factory=EventBus)
    gate: asyncio.Event | None = None
    failure: PomonaError | None = None
    asked: list[tuple[object, ...]] = field(default_factory=list[tuple[object, ...]])
    looks: int = 0
    """How often somebody wanted to know of memory."""

    def reset(self, models: Sequence[ModelStatus]) -> None:
        """Begin anew with these models."""
        self.models, self.gate, self.failure = list(models), None, None
        self.report = MEMORY
        self.asked.clear()

    def statuses(self) -> tuple[ModelStatus, ...]:
        """The models."""
        return tuple(self.models)

    def memory(self) -> MemoryReport:
        """The report."""
        self.looks += 1
        return self.report

    async def load(self, name: str, *, keep_alive_seconds: float | None = None) -> ModelStatus:
        """Load it, behind the gate."""
        self.asked.append(("load", name, keep_alive_seconds))
        before = self._find(name)
        if before.state == "ready":
            return before
        self._put(replace(before, state="loading"))
        try:
            if self.gate is not None:
                await self.gate.wait()
            if self.failure is not None:
                self.events.publish(ErrorOccurred(code=runtime_code(self.failure), message=self.failure.message, model=name, at=1.0))
                raise self.failure
        except BaseException:
            self._put(replace(before, problem=self.failure and self.failure.message))
            raise
        keep = before.keep_alive_seconds if keep_alive_seconds is None else keep_alive_seconds
        self.events.publish(ModelLoaded(model=name, seconds=1.5, at=1.0))
        return self._put(
            replace(before, state="ready", keep_alive_seconds=keep, load_seconds=1.5, loaded_at=1.0, measured_bytes=2 * GB, problem=None)
        )

    async def unload(self, name: str, *, force: bool = False) -> UnloadReport:
        """Unload it. Raises Conflict where it is not loaded."""
        self.asked.append(("unload", name, force))
        status = self._find(name)
        if status.state != "ready":
            raise Conflict(f"{name!r} is not loaded.")
        self._put(replace(status, state="unloaded", measured_bytes=None))
        self.events.publish(ModelUnloaded(model=name, reason="asked", freed_bytes=2 * GB, at=2.0))
        return UnloadReport(id=name, freed_bytes=2 * GB, seconds=0.25)

    async def pin(self, name: str, *, pinned: bool) -> ModelStatus:
        """Pin it, or not."""
        self.asked.append(("pin", name, pinned))
        return self._put(replace(self._find(name), pinned=pinned))

    def shrink(self, name: str | None = None, *, disk: bool = False) -> tuple[str, ...]:
        """Note it; those that are loaded are told."""
        self.asked.append(("shrink", name, "disk") if disk else ("shrink", name))
        return tuple(status.id for status in self.models if status.state == "ready" and name in (None, status.id))

    def _find(self, name: str) -> ModelStatus:
        found = next((status for status in self.models if status.id == name), None)
        if found is None:
            raise ModelNotFound(f"There is no model {name!r} here.", param="model")
        return found

    def _put(self, status: ModelStatus) -> ModelStatus:
        self.models = [status if each.id == status.id else each for each in self.models]
        return status


def refusing(error: PomonaError) -> ScriptedGenerator:
    """A generator that refuses every request before it starts."""
    return ScriptedGenerator(script=(error,))
