"""Downloads in the background: states, joining, cancelling, the end of the program."""

import asyncio
from collections.abc import Callable, Generator

import pytest

from pomona.core.errors import InvalidRequest, NotFound
from pomona.core.hub import PullRequest, PullStatus
from pomona.hub.pulls import BackgroundPulls, Speed
from tests.hub.conftest import STORIES, Bench

WEIGHTS = "model.safetensors"
TINY = PullRequest(reference="acme/tiny")


@pytest.fixture
def pulls(bench: Bench) -> Generator[BackgroundPulls]:
    """Closed at the end."""
    running = BackgroundPulls(bench.puller)
    yield running
    bench.hub.go.set()
    running.close()


async def until(pulls: BackgroundPulls, id: str, holds: Callable[[PullStatus], bool]) -> PullStatus:
    """The status once it is so."""
    while True:
        status = next(status for status in pulls.pulls() if status.id == id)
        if holds(status):
            return status
        await asyncio.sleep(0.01)


async def ended(pulls: BackgroundPulls, id: str) -> PullStatus:
    """The last status."""
    return await until(pulls, id, lambda status: status.state in {"finished", "failed", "cancelled"})


async def test_a_pull_finishes_and_says_what_to_ask_for(pulls: BackgroundPulls, bench: Bench) -> None:
    begun = pulls.start(PullRequest(reference="https://huggingface.co/acme/tiny", name="small"))
    assert begun.state in {"queued", "downloading"}
    status = await ended(pulls, begun.id)
    assert (status.state, status.model, status.problem) == ("finished", "acme/tiny", None)
    assert status.done_bytes == status.total_bytes == sum(path.stat().st_size for path in STORIES.iterdir() if path.name != "README.md")
    assert bench.registry.aliases() == {"small": "acme/tiny"}


async def test_equal_pulls_are_joined(pulls: BackgroundPulls, bench: Bench) -> None:
    bench.hub.hold[WEIGHTS] = 1000
    first = pulls.start(TINY)
    await asyncio.to_thread(bench.hub.held.wait)
    assert pulls.is_pulling("acme/tiny")
    assert pulls.start(PullRequest(reference="acme/tiny", name="twin")).id == first.id
    bench.hub.go.set()
    await ended(pulls, first.id)
    assert len(bench.hub.downloads(WEIGHTS)) == len(pulls.pulls()) == 1
    assert bench.registry.aliases() == {"twin": "acme/tiny"}
    assert not pulls.is_pulling("acme/tiny")
    assert pulls.start(TINY).id != first.id


async def test_cancelling_is_at_once_and_keeps_what_came(pulls: BackgroundPulls, bench: Bench) -> None:
    bench.hub.hold[WEIGHTS] = 200_000
    begun = pulls.start(TINY)
    await until(pulls, begun.id, lambda status: status.done_bytes >= 200_000)
    status = await pulls.cancel(begun.id)
    assert (status.state, status.bytes_per_second) == ("cancelled", 0.0)
    assert "kept" in (status.problem or "")
    assert bench.partial(WEIGHTS).stat().st_size == 200_000
    bench.hub.go.set()
    again = await ended(pulls, pulls.start(TINY).id)
    assert again.state == "finished"
    assert [asked.range for asked in bench.hub.downloads(WEIGHTS)] == [None, "bytes=200000-"]
    assert (await pulls.cancel(again.id)).state == "finished"


async def test_one_that_waits_for_its_turn_can_be_cancelled(pulls: BackgroundPulls, bench: Bench) -> None:
    bench.hub.hold[WEIGHTS] = 1000
    for name in ("acme/two", "acme/three"):
        bench.hub.repos[name] = bench.hub.repos["acme/tiny"]
    ids = [pulls.start(PullRequest(reference=name)).id for name in ("acme/tiny", "acme/two", "acme/three")]
    assert [status.id for status in pulls.pulls()] == ids[::-1]
    assert (await pulls.cancel(ids[2])).state == "cancelled"
    for id in ids[:2]:
        assert (await pulls.cancel(id)).state == "cancelled"


async def test_a_pull_that_fails_says_why(pulls: BackgroundPulls) -> None:
    status = await ended(pulls, pulls.start(PullRequest(reference="acme/absent")).id)
    assert status.state == "failed"
    assert "'acme/absent'" in (status.problem or "")


async def test_what_is_none(pulls: BackgroundPulls) -> None:
    with pytest.raises(InvalidRequest, match="'nothing' does not name"):
        pulls.start(PullRequest(reference="nothing"))
    with pytest.raises(NotFound, match="'pull_0'"):
        await pulls.cancel("pull_0")


def test_closing_cancels_what_runs(bench: Bench) -> None:
    bench.hub.hold[WEIGHTS] = 1000
    pulls = BackgroundPulls(bench.puller)
    pulls.start(TINY)
    bench.hub.held.wait()
    pulls.close()
    assert pulls.pulls()[0].state == "cancelled"


def test_speed_is_that_of_the_last_seconds() -> None:
    times = iter([0.0, 1.0, 2.0, 10.0, 11.0])
    speed = Speed(clock=lambda: next(times))
    assert [speed.note(done) for done in (0, 100, 200)] == [0.0, 100.0, 100.0]
    assert speed.note(1000) == pytest.approx(100.0)
    assert speed.note(2000) == pytest.approx(1000.0)
