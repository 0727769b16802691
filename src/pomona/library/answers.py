"""Answers in one piece."""

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Self

from pomona.core.errors import InvalidRequest
from pomona.core.generation import (
    CacheReport,
    Finished,
    FinishReason,
    GenerateEvent,
    PromptScored,
    ReasoningDelta,
    Started,
    TextDelta,
    TokenText,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A tool that the model wants called. `arguments` is JSON text."""

    id: str
    name: str
    arguments: str

    @property
    def values(self) -> dict[str, Any]:
        """The arguments, read. Raises InvalidRequest where the answer was cut within them."""
        try:
            return json.loads(self.arguments or "{}")
        except ValueError:
            raise InvalidRequest(f"The arguments of {self.name!r} are no complete JSON: {self.arguments!r}. Raise max_tokens.") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model answered. As a string it is its text. Times are in seconds from the request."""

    id: str
    model: str
    text: str
    finish_reason: FinishReason
    usage: Usage
    reasoning: str = ""
    """What the model thought before."""
    calls: tuple[Call, ...] = ()
    tokens: tuple[TokenText, ...] = ()
    """With log-probabilities, where these were asked for."""
    prompt_scores: PromptScored | None = None
    stop_sequence: str | None = None
    warnings: tuple[str, ...] = ()
    cache: CacheReport | None = None
    first_token_seconds: float | None = None
    seconds: float = 0.0

    def __str__(self) -> str:
        return self.text

    @property
    def parsed(self) -> Any:
        """The text, read as JSON: for answers that were given a schema. Raises InvalidRequest where it is none, as when it was cut."""
        try:
            return json.loads(self.text)
        except ValueError:
            raise InvalidRequest(
                f"The answer is no complete JSON (it ended with {self.finish_reason!r}). Give a schema, or more tokens."
            ) from None

    @property
    def tokens_per_second(self) -> float | None:
        """Of the answer, from its second token on; None for shorter ones."""
        if self.first_token_seconds is None or self.usage.completion_tokens < 2 or self.seconds <= self.first_token_seconds:
            return None
        return (self.usage.completion_tokens - 1) / (self.seconds - self.first_token_seconds)


@dataclass(slots=True, kw_only=True)
class Collector:
    """An answer while it grows."""

    id: str
    model: str
    began: float = field(default_factory=time.monotonic)
    texts: list[str] = field(default_factory=list[str])
    thoughts: list[str] = field(default_factory=list[str])
    tokens: list[TokenText] = field(default_factory=list[TokenText])
    calls: list[tuple[ToolCallStarted, list[str]]] = field(default_factory=list[tuple[ToolCallStarted, list[str]]])
    prompt_scores: PromptScored | None = None
    first: float | None = None

    async def collect(self, events: AsyncGenerator[GenerateEvent]) -> Answer:
        """Read `events` to their end."""
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Finished):
                    return self.answer(event)
                self.add(event)
        raise RuntimeError("a stream ended without its last event")

    def add(self, event: GenerateEvent) -> Self:
        """One more event, other than the last."""
        if self.first is None and not isinstance(event, Started | PromptScored):
            self.first = time.monotonic() - self.began
        match event:
            case TextDelta(text=text, logprobs=logprobs):
                self.texts.append(text)
                self.tokens.extend(logprobs)
            case ReasoningDelta(text=text):
                self.thoughts.append(text)
            case ToolCallStarted():
                self.calls.append((event, []))
            case ToolCallDelta(arguments=arguments):
                self.calls[-1][1].append(arguments)
            case PromptScored():
                self.prompt_scores = event
            case _:
                pass
        return self

    def answer(self, event: Finished) -> Answer:
        """The whole, at its end."""
        return Answer(
            id=self.id,
            model=self.model,
            text="".join(self.texts),
            reasoning="".join(self.thoughts),
            calls=tuple(Call(id=call.id, name=call.name, arguments="".join(parts)) for call, parts in self.calls),
            tokens=tuple(self.tokens),
            prompt_scores=self.prompt_scores,
            finish_reason=event.reason,
            stop_sequence=event.stop_sequence,
            usage=event.usage,
            warnings=event.warnings,
            cache=event.cache,
            first_token_seconds=self.first,
            seconds=time.monotonic() - self.began,
        )
