"""Events as a stream: everybody sees everything, who comes back misses nothing, who is slow hurts nobody."""

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import httpx

from pomona.core.events import (
    UNREAD_EVENTS,
    EventBus,
    GenerationCompleted,
    GenerationStarted,
    GenerationToken,
    ModelLoaded,
    ModelUnloaded,
)
from tests.api.gateway import MODEL, Gateway, running, settings_with

Seen = tuple[str, str, dict[str, object]]


def loaded(model: str = MODEL, seconds: float = 1.0) -> ModelLoaded:
    return ModelLoaded(model=model, seconds=seconds, at=5.0)


@contextmanager
def watching(gateway: Gateway, query: str = "", last_id: str | None = None) -> Generator[Iterator[Seen]]:
    """Events as (id, name, data), from the moment that this yields."""
    headers = {} if last_id is None else {"last-event-id": last_id}
    with (
        httpx.Client(base_url=gateway.urls.admin, timeout=60) as client,
        client.stream("GET", f"/admin/events{query}", headers=headers) as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.iter_lines()
        assert next(lines) == ": connected"
        yield parsed(lines)


def parsed(lines: Iterator[str]) -> Iterator[Seen]:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
        elif "data" in fields:
            yield fields.get("id", ""), fields["event"], json.loads(fields["data"])
            fields = {}


def test_events_come_as_they_happen_with_their_names(gateway: Gateway) -> None:
    with watching(gateway) as events:
        gateway.admin().post("/admin/models/acme/reader/load")
        gateway.admin().post("/admin/models/acme/reader/unload")
        first, second = next(events), next(events)
    assert first[1:] == ("model:loaded", {"event": "model:loaded", "model": "acme/reader", "seconds": 1.5, "at": 1.0})
    assert (second[1], second[2]["reason"], second[2]["freed_bytes"]) == ("model:unloaded", "asked", 2**31)


def test_tokens_come_only_where_they_are_asked_for(gateway: Gateway) -> None:
    story = (
        GenerationStarted(request="r", model=MODEL, prompt_tokens=3, at=1.0),
        GenerationToken(request="r", model=MODEL, text="Hi", at=2.0),
        GenerationCompleted(request="r", model=MODEL, completion_tokens=1, seconds=1.0, at=3.0),
    )
    with watching(gateway) as few, watching(gateway, "?tokens=true") as all_of_them:
        gateway.publish(*story)
        assert [next(few)[1] for _ in range(2)] == ["generation:started", "generation:completed"]
        names = [next(all_of_them) for _ in range(3)]
    assert [name for _, name, _ in names] == ["generation:started", "generation:token", "generation:completed"]
    assert (names[1][0], names[1][2]["text"]) == ("", "Hi")


def test_one_model_alone_by_any_of_its_names(gateway: Gateway) -> None:
    with watching(gateway, "?model=alias") as events:
        gateway.publish(loaded("other"), loaded("alias", 2.0), loaded(MODEL, 3.0))
        assert [next(events)[2]["seconds"] for _ in range(2)] == [2.0, 3.0]


def test_who_comes_back_gets_what_was_missed_and_nothing_twice(gateway: Gateway) -> None:
    with watching(gateway) as events:
        gateway.publish(loaded(seconds=1.0), loaded(seconds=2.0))
        first, second = next(events), next(events)
    gateway.publish(loaded(seconds=3.0))
    with watching(gateway, last_id=first[0]) as events:
        gateway.publish(loaded(seconds=4.0))
        again = [next(events) for _ in range(3)]
    assert [data["seconds"] for _, _, data in again] == [2.0, 3.0, 4.0]
    assert again[0] == second


def test_an_id_of_another_life_gets_all_that_is_kept() -> None:
    with running(Gateway()) as gateway:
        gateway.publish(loaded(seconds=1.0), loaded(seconds=2.0))
        for last_id in ("17-9", "nonsense", "-", "ff-99999999999999999999999"):
            with watching(gateway, last_id=last_id) as events:
                assert [next(events)[2]["seconds"] for _ in range(2)] == [1.0, 2.0]


def test_silence_is_filled_with_comments() -> None:
    gateway = Gateway(settings=settings_with(keepalive_seconds=0.01))
    with running(gateway), gateway.admin().stream("GET", "/admin/events") as response:
        lines = response.iter_lines()
        assert [next(lines) for _ in range(5)][-2:] == [": keepalive", ""]


def test_the_end_of_the_server_is_the_end_of_the_stream() -> None:
    with running(Gateway()) as gateway, watching(gateway) as events:
        gateway.set(gateway.stop)
        assert list(events) == []


async def test_a_slow_watcher_loses_the_oldest_and_hurts_nobody() -> None:
    bus = EventBus()
    with bus.following() as slow, bus.following() as quick:
        seen: list[int | None] = []
        for number in range(2 * UNREAD_EVENTS):
            bus.publish(loaded(seconds=float(number)))
            seen.append((await anext(quick)).number)
        assert seen == list(range(1, 2 * UNREAD_EVENTS + 1))
        assert (await anext(slow)).number == UNREAD_EVENTS + 1


async def test_what_is_kept_is_bounded_and_watchers_leave_nothing_behind() -> None:
    bus = EventBus()
    for number in range(UNREAD_EVENTS + 5):
        bus.publish(loaded(seconds=float(number)))
    with bus.following(after=0, tokens=True) as events:
        assert (await anext(events)).number == 6
        assert bus.wants_tokens
    assert not bus.wants_tokens
    watched = bus.watch(tokens=True)
    waiting = anext(watched)
    del waiting
    await watched.aclose()
    assert not bus.wants_tokens


def test_a_reader_that_stops_reading_does_not_stop_the_others(gateway: Gateway) -> None:
    padding = "x" * 20_000
    with watching(gateway) as stalled, watching(gateway) as quick:
        for number in range(300):
            gateway.publish(ModelUnloaded(model=padding, reason="idle", freed_bytes=number, at=1.0))
            assert next(quick)[2]["freed_bytes"] == number
        assert next(stalled)[2]["freed_bytes"] == 0
