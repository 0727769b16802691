"""Answers and engines, as events for everybody who watches."""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from pomona.core.errors import PomonaError
from pomona.core.events import (
    ErrorOccurred,
    Event,
    EventBus,
    GenerationCompleted,
    GenerationStarted,
    GenerationToken,
    ModelInvalidated,
    RuntimeState,
    RuntimeStatus,
    runtime_code,
)
from pomona.core.generation import Finished, GenerateEvent, GenerateRequest, ReasoningDelta, Started, TextDelta
from pomona.core.ports import Generator
from pomona.core.status import EngineState

RUNTIME_STATES: dict[EngineState | None, RuntimeState] = {
    "loading": "starting",
    "ready": "ready",
    "restarting": "error",
    "failed": "error",
    None: "stopped",
}


class ObservedGenerator:
    """A Generator that tells an event bus of what it hands through. `now` is in Unix seconds; `clock` only rises."""

    def __init__(
        self, inner: Generator, events: EventBus, now: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._inner = inner
        self._events = events
        self._now = now
        self._clock = clock

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateEvent]:
        """Answer `request`."""
        begun = self._clock()
        try:
            async with aclosing(self._inner.generate(request)) as events:
                async for event in events:
                    self._tell(request, event, begun)
                    yield event
        except PomonaError as error:
            self._events.publish(
                ErrorOccurred(code=runtime_code(error), message=error.message, model=request.model, request=request.id, at=self._now())
            )
            raise

    def _tell(self, request: GenerateRequest, event: GenerateEvent, begun: float) -> None:
        id, model, at = request.id, request.model, self._now()
        match event:
            case Started(prompt_tokens=count):
                self._events.publish(GenerationStarted(request=id, model=model, prompt_tokens=count, at=at))
            case TextDelta(text=text) | ReasoningDelta(text=text):
                if text and self._events.wants_tokens:
                    self._events.publish(GenerationToken(request=id, model=model, text=text, at=at))
            case Finished(usage=usage):
                completed = GenerationCompleted(
                    request=id, model=model, completion_tokens=usage.completion_tokens, seconds=self._clock() - begun, at=at
                )
                self._events.publish(completed)
            case _:
                pass


class ObservedEngines:
    """Tells an event bus of the states that engines go through."""

    def __init__(self, publish: Callable[[Event], None], now: Callable[[], float] = time.time) -> None:
        self._publish = publish
        self._now = now
        self._last: dict[str, RuntimeState] = {}

    def note(self, model: str, state: EngineState | None) -> None:
        """The engine of `model` is in `state` from now on; None: it is gone."""
        if state == "restarting":
            self._publish(ModelInvalidated(model=model, reason="engine_restart", at=self._now()))
        status = RUNTIME_STATES[state]
        previous = self._last.get(model)
        if status == "stopped":
            self._last.pop(model, None)
        else:
            self._last[model] = status
        if status != previous:
            self._publish(RuntimeStatus(status=status, previous=previous, model=model, at=self._now()))
