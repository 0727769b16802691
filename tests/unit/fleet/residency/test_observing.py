"""What watchers are told of answers and engines."""

import pytest

from pomona.core.errors import ContextOverflow
from pomona.core.events import (
    ErrorOccurred,
    Event,
    EventBus,
    GenerationCompleted,
    GenerationStarted,
    GenerationToken,
    ModelInvalidated,
    RuntimeStatus,
)
from pomona.core.generation import GenerateRequest
from pomona.core.status import EngineState
from pomona.fleet.residency.observing import ObservedEngines, ObservedGenerator
from tests.doubles import ScriptedGenerator, answer

REQUEST = GenerateRequest(id="r", model="m", text="Once", max_tokens=4)


async def told(generator: ScriptedGenerator, *, tokens: bool) -> list[Event]:
    """What watchers hear while an answer is given, whose events go through as they are."""
    bus, heard = EventBus(), list[Event]()
    observed = ObservedGenerator(generator, bus, now=lambda: 7.0, clock=iter([100.0, 102.5]).__next__)
    with bus.following(tokens=tokens) as events:
        try:
            assert [event async for event in observed.generate(REQUEST)] == generator.script
        finally:
            bus.publish(RuntimeStatus(status="stopped", at=7.0))
            async for numbered in events:
                if isinstance(numbered.event, RuntimeStatus):
                    break
                heard.append(numbered.event)
    return heard


async def test_an_answer_begins_and_ends() -> None:
    started, completed = await told(ScriptedGenerator(script=answer("one", " two")), tokens=False)
    assert isinstance(started, GenerationStarted)
    assert isinstance(completed, GenerationCompleted)
    assert (started.request, started.model, completed.request, completed.seconds) == ("r", "m", "r", 2.5)


async def test_tokens_are_told_to_those_who_ask_for_them() -> None:
    heard = await told(ScriptedGenerator(script=answer("one", " two")), tokens=True)
    assert [event.text for event in heard if isinstance(event, GenerationToken)] == ["one", " two"]


async def test_a_failure_is_told_and_raised() -> None:
    class Failing(ScriptedGenerator):
        async def generate(self, request: GenerateRequest):  # noqa: ANN202
            raise ContextOverflow("Too long.")
            yield

    bus = EventBus()
    heard: list[Event] = []
    bus.listen(heard.append)
    with pytest.raises(ContextOverflow):
        _ = [event async for event in ObservedGenerator(Failing(script=[]), bus, now=lambda: 7.0).generate(REQUEST)]
    assert heard == [ErrorOccurred(code="ValidationError", message="Too long.", model="m", request="r", at=7.0)]


def test_states_of_an_engine_become_those_of_the_runtime() -> None:
    heard: list[Event] = []
    engines = ObservedEngines(heard.append, now=lambda: 7.0)
    states: tuple[EngineState | None, ...] = ("loading", "ready", "restarting", "failed", None, "loading")
    for state in states:
        engines.note("m", state)
    assert [event.reason for event in heard if isinstance(event, ModelInvalidated)] == ["engine_restart"]
    assert [(event.previous, event.status) for event in heard if isinstance(event, RuntimeStatus)] == [
        (None, "starting"),
        ("starting", "ready"),
        ("ready", "error"),
        ("error", "stopped"),
        (None, "starting"),
    ]
