"""Stand-ins that keep the protocols of `pomona.core.ports`: they really run, only their answers are written down."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from pomona.core.errors import ModelNotFound, PomonaError
from pomona.core.generation import Finished, FinishReason, GenerateEvent, GenerateRequest, Started, TextDelta, TokenText, Usage
from pomona.core.ports import RenderedPrompt
from pomona.core.status import EngineReport, ModelCard

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
class FixedStatus:
    """An EngineStatus whose reports a test sets."""

    reports: tuple[EngineReport, ...]

    def status(self) -> tuple[EngineReport, ...]:
        """The reports."""
        return self.reports


def refusing(error: PomonaError) -> ScriptedGenerator:
    """A generator that refuses every request before it starts."""
    return ScriptedGenerator(script=(error,))
