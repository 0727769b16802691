"""A process in spare: it becomes the next engine, and is never left behind."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest

from pomona.engine.process.host import EXIT_GATEWAY_GONE
from pomona.fleet.process.client import EngineClient
from pomona.fleet.process.starting import Starter
from tests.e2e.engines import COMMAND, PATIENCE_SECONDS, PREPARE, QUICK, launch, prompt, read, until
from tests.e2e.many_models import SMALL, STORIES, Watcher
from tests.e2e.servers import MODEL, arguments_of, serving, wait_until


@asynccontextmanager
async def starter() -> AsyncGenerator[Starter]:
    each = Starter(COMMAND, PREPARE, spares=True)
    try:
        yield each
    finally:
        await each.close()


def children() -> list[int]:
    """Engines and spare processes of this process."""
    found = [child for child in psutil.Process().children() if "counting_engine" in " ".join(arguments_of(child))]
    return [child.pid for child in found if child.status() != psutil.STATUS_ZOMBIE]


async def answer_of(starter: Starter) -> tuple[int, list[int]]:
    """The process id of the next engine, and what it says."""
    client = EngineClient(starter.start, partial(launch, model="counting"), QUICK)
    try:
        await client.start()
        return client.pid, await read(client, prompt())
    finally:
        await client.stop()


async def test_it_becomes_the_next_engine() -> None:
    async with starter() as each:
        each.keep_spare()
        [spare] = await started()
        each.keep_spare()
        assert children() == [spare]
        assert await answer_of(each) == (spare, [3, 4, 5, 6, 7])
        assert not each.has_spare
        other, answer = await answer_of(each)
        assert (other != spare, answer) == (True, [3, 4, 5, 6, 7])
    assert children() == []


async def test_one_that_has_died_is_not_used() -> None:
    async with starter() as each:
        each.keep_spare()
        [spare] = await started()
        os.kill(spare, signal.SIGKILL)
        await until(lambda: not each.has_spare)
        assert (await answer_of(each))[0] != spare


async def test_one_that_is_dropped_is_gone() -> None:
    async with starter() as each:
        each.keep_spare()
        await started()
        each.drop_spare()
        assert not each.has_spare
        await until(lambda: not children())
        each.keep_spare()
        assert await started()
    assert children() == []


async def test_where_none_is_wanted_none_is_started() -> None:
    each = Starter(COMMAND, PREPARE)
    each.keep_spare()
    assert (each.has_spare, children()) == (False, [])
    await each.close()


async def test_a_command_that_is_not_there_leaves_none() -> None:
    each = Starter(("/nonexistent/python",), PREPARE, spares=True)
    each.keep_spare()
    assert not each.has_spare


@pytest.mark.parametrize("said", [b"", PREPARE.model_dump_json().encode() + b"\n"])
def test_it_ends_with_the_gateway(said: bytes) -> None:
    """As on macOS, where the end of its input is the only sign."""
    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(said)
    process.stdin.close()
    assert process.wait(PATIENCE_SECONDS) == EXIT_GATEWAY_GONE


async def test_a_server_loads_into_it(tmp_path: Path) -> None:
    folders = f'models.folders=["{SMALL.parent.resolve()}"]'
    with serving(tmp_path, "--set", folders, "--set", "residency.spare_process=true", "--kv-cache", "64M") as server:
        watcher = Watcher(server)
        await asyncio.to_thread(wait_until, lambda: len(watcher.engines()) == 2)
        before = set(watcher.engines())
        async with server.client() as client:
            for model in (STORIES, MODEL):
                await client.completions.create(model=model, prompt="Once", max_tokens=2)
        await asyncio.to_thread(wait_until, lambda: len(watcher.engines()) == 3)
        assert before < set(watcher.engines())
        with watcher.watching():
            server.process.terminate()
            server.process.wait()
        assert not any(psutil.pid_exists(pid) for pid in watcher.seen | before)


async def started() -> list[int]:
    """The children, as soon as there are any."""
    await until(children)
    return children()
