"""Servers that lose their engine, are told to stop, or are killed."""

import asyncio
import shutil
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from openai import APIError, AsyncStream, InternalServerError
from openai.types import Completion

from pomona.models.references import bundled_folder
from tests.e2e.many_models import TELLING
from tests.e2e.servers import MODEL, PATIENCE_SECONDS, Server, serving, wait_until


@asynccontextmanager
async def begun(server: Server, max_tokens: int) -> AsyncGenerator[AsyncStream[Completion]]:
    """A stream of which the first piece has come."""
    async with server.client() as client:
        stream = await client.completions.create(
            model=MODEL, prompt="Once upon a time", max_tokens=max_tokens, stream=True, extra_body={"ignore_eos": True}
        )
        await anext(stream)
        yield stream
        await stream.close()


async def test_a_stream_goes_on_when_its_engine_is_killed(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        engine = server.engine()
        undisturbed = await tell(server, lambda: None)
        assert await tell(server, engine.kill) == undisturbed
        assert server.engine().pid != engine.pid
        assert server.is_ready()
        assert server.metric("pomona_engine_restarts_total") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_to_the_group_lets_answers_finish(number: signal.Signals, tmp_path: Path) -> None:
    with serving(tmp_path, "--set", "server.shutdown_grace_seconds=100") as server:
        engine = server.engine()
        async with begun(server, 60) as stream:
            for process in (server.process, engine):
                process.send_signal(number)
            assert await exhaust(stream) == "length"
        assert server.process.wait(PATIENCE_SECONDS) == 0
        assert not engine.is_running()


async def test_a_server_that_goes_down_is_not_ready_refuses_what_is_new_and_tells_what_it_waits_for(tmp_path: Path) -> None:
    with serving(tmp_path, "--set", "server.shutdown_grace_seconds=100", *TELLING) as server:
        async with begun(server, 500) as stream, httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
            server.process.terminate()
            body = {"model": MODEL, "prompt": "Once", "max_tokens": 1}
            answers = [await client.post(f"{server.url}/v1/completions", json=body)]
            while answers[-1].status_code == 200:
                answers.append(await client.post(f"{server.url}/v1/completions", json=body))
            assert (answers[-1].status_code, answers[-1].headers["connection"]) == (503, "close")
            assert float(answers[-1].headers["retry-after"]) > 0
            probes = {path: (await client.get(f"{server.url}/{path}")).status_code for path in ("health", "ready")}
            assert probes == {"health": 200, "ready": 503}
            assert await exhaust(stream) == "length"
        assert server.process.wait(PATIENCE_SECONDS) == 0
    lines = (tmp_path / "log").read_text().splitlines()
    assert '"answers": 1' in next((line for line in lines if "waiting_for_answers" in line), "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_everything_at_once(number: signal.Signals, tmp_path: Path) -> None:
    with serving(tmp_path, "--set", "server.shutdown_grace_seconds=3600") as server:
        engine = server.engine()
        async with begun(server, 3000) as stream:
            server.process.send_signal(number)
            await asyncio.to_thread(wait_until, lambda: not server.is_ready())
            server.process.send_signal(number)
            with pytest.raises(APIError, match="shutting down"):
                await exhaust(stream)
        assert server.process.wait(PATIENCE_SECONDS) == 0
        assert not engine.is_running()


def test_an_engine_that_hangs_is_found_and_liveness_says_that_it_is_replaced(tmp_path: Path) -> None:
    with serving(tmp_path, "--set", "fleet.hang_seconds=1.5") as server:
        engine, seen = server.engine(), list[httpx.Response]()
        engine.suspend()

        def is_well_again() -> bool:
            seen.append(httpx.get(f"{server.admin_url}/health"))
            return "recovering" in statuses(seen) and seen[-1].json()["status"] == "ok"

        wait_until(is_well_again)
        assert {response.status_code for response in seen} == {200}
        assert list(dict.fromkeys(statuses(seen))) == ["ok", "recovering"]
        told = [reason for response in seen for reason in response.json()["recovering"]]
        assert any("hung" in reason for reason in told), told
        assert server.engine().pid != engine.pid
        assert server.is_ready()


def test_liveness_says_no_when_an_engine_does_not_come_back(tmp_path: Path) -> None:
    with serving(tmp_path, "--set", "fleet.max_restarts=0") as server:
        server.engine().send_signal(signal.SIGABRT)
        wait_until(lambda: httpx.get(f"{server.url}/health").status_code == 503)
        document = httpx.get(f"{server.url}/health").json()
        assert document["status"] == "failing"
        assert "SIGABRT" in document["problems"][0]
        assert not server.is_ready()


async def test_answers_that_do_not_finish_in_time_are_ended_with_a_reason(tmp_path: Path) -> None:
    with serving(tmp_path, "--set", "server.shutdown_grace_seconds=0.2") as server:
        engine = server.engine()
        async with begun(server, 3000) as stream:
            server.process.terminate()
            with pytest.raises(APIError, match="shutting down"):
                await exhaust(stream)
        assert server.process.wait(PATIENCE_SECONDS) == 0
        assert not engine.is_running()


async def test_one_request_more_than_there_is_room_for_is_refused_at_once(tmp_path: Path) -> None:
    with serving(tmp_path, "--max-rows", "1", "--max-waiting", "1") as server:
        async with server.client() as client:
            async with begun(server, 3000):
                waiting = asyncio.ensure_future(client.completions.create(model=MODEL, prompt="Once", max_tokens=1))
                await asyncio.to_thread(wait_until, lambda: server.metric("pomona_engine_waiting_requests") == 1)
                with pytest.raises(InternalServerError) as caught:
                    await client.completions.create(model=MODEL, prompt="Once", max_tokens=1, stream=True)
                assert (caught.value.status_code, caught.value.code) == (503, "overloaded")
                assert float(caught.value.response.headers["retry-after"]) > 0
            assert (await waiting).choices[0].finish_reason == "length"


async def test_the_engine_goes_with_a_killed_server(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        engine = server.engine()
        async with begun(server, 3000):
            server.process.kill()
            gone, _ = psutil.wait_procs([engine], PATIENCE_SECONDS)
        assert [each.pid for each in gone] == [engine.pid]


def test_a_model_that_cannot_be_loaded_ends_the_server_with_the_reason(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(bundled_folder(), broken)
    (broken / "config.json").write_text('{"model_type": "no-such-type"}')
    with pytest.raises(AssertionError, match=r"config\.json.*no-such-type"), serving(tmp_path, "--model", "./broken"):
        pass


def test_a_server_that_is_ready_says_so(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert server.is_ready()
        wait_until(lambda: server.metric("pomona_engine_steps") >= 1)


def statuses(responses: list[httpx.Response]) -> list[str]:
    """What liveness called itself."""
    return [response.json()["status"] for response in responses]


async def tell(server: Server, disturb: Callable[[], None]) -> tuple[str, str | None]:
    """A whole stream, text and reason of its end; `disturb` is called when its first piece has come."""
    text, reason, disturbed = "", None, False
    async with server.client() as client:
        stream = await client.completions.create(
            model=MODEL, prompt="Once upon a time", max_tokens=200, stream=True, temperature=0, extra_body={"ignore_eos": True}
        )
        async for chunk in stream:
            if not disturbed:
                disturb()
            disturbed = True
            for choice in chunk.choices:
                text, reason = text + choice.text, choice.finish_reason or reason
    return text, reason


async def exhaust(stream: AsyncStream[Completion]) -> str | None:
    """Read to the end; why the answer ended."""
    reasons = [choice.finish_reason async for chunk in stream for choice in chunk.choices]
    return reasons[-1]
