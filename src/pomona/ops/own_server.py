"""A server of our own for the length of a measurement or of a client: `pomona serve` as a child process on free ports."""

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pomona.core.errors import EngineFailed

COMMAND = (sys.executable, "-P", "-m", "pomona")
LOOK_SECONDS = 0.05
STOP_SECONDS = 20.0
SHOWN_LINES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnServer:
    """What its ready file says."""

    url: str
    admin_url: str
    pid: int
    model: str


@asynccontextmanager
async def own_server(global_options: Sequence[str] = ()) -> AsyncGenerator[OwnServer]:
    """A server that is ready when the block begins and gone when it has ended. `global_options` are those of the command line.

    Raises EngineFailed with the last lines of its log when it ends before it is ready.
    """
    with tempfile.TemporaryDirectory(prefix="pomona-server-") as folder:
        ready, log = Path(folder) / "ready.json", Path(folder) / "log"
        keys = f"access.keys_file={Path(folder) / 'keys.json'}"  # none: this server is for us alone
        arguments = ("serve", "--port", "0", "--admin-port", "0", "--set", keys, "--ready-file", str(ready))
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *COMMAND,
                *global_options,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stderr=output,
                start_new_session=True,  # Ctrl-C in the terminal is not for it: it is stopped when the block ends
            )
        try:
            yield await _wait_until_ready(process, ready, log)
        finally:
            await _stop(process)


async def _wait_until_ready(process: asyncio.subprocess.Process, ready: Path, log: Path) -> OwnServer:
    while (server := _read(ready)) is None:
        if process.returncode is not None:
            raise EngineFailed(
                "\n".join([f"The server that was started for this ended with code {process.returncode}:", *_last_lines(log)])
            )
        await asyncio.sleep(LOOK_SECONDS)
    return server


def _read(ready: Path) -> OwnServer | None:
    if not ready.exists():
        return None
    return OwnServer(**cast("dict[str, Any]", json.loads(ready.read_text(encoding="utf-8"))))


def _last_lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-SHOWN_LINES:]


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
