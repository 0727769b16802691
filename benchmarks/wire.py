"""What HTTP costs per token: the bare event stream of a double, the same through the application, and through real sockets.

Run `python -m benchmarks.wire`, with `--write docs/performance.md` to put the table there. One process, so the columns differ only by
what is between generator and reader. *Application* is codec, recording, merging and server-sent events, with the bytes thrown away; *with a
key* adds an API key that has limits, *to be joined* the marks of the official clients (a retry count and a session) on top of that, and
*sockets* adds uvicorn and a client that only counts bytes to the plain application.
"""

import argparse
import asyncio
import json
import math
import platform
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Scope

from pomona.control.callers import Allowance
from pomona.control.keys import KeyRing, make_key
from pomona.core.generation import GenerateRequest
from pomona.core.metrics import Metrics
from pomona.core.settings import LimitsSettings, ServerSettings, Settings
from pomona.core.status import ModelCard
from pomona.core.telemetry import configure_logging
from pomona.server.application import create_admin_app, create_public_app
from pomona.server.services import Backend
from pomona.server.serving import Urls, serve
from tests.doubles import FixedDirectory, FixedStatus, FixedTokenization, ScriptedGenerator, answer

TOKENS = 500
ROUNDS = 7
STREAMS = (1, 8, 32)
MESSAGES = [{"role": "user", "content": "x"}]
APIS = {
    "/v1/chat/completions": {"messages": MESSAGES, "prompt_cache_key": "s"},
    "/v1/completions": {"prompt": "x", "max_tokens": TOKENS, "prompt_cache_key": "s"},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": TOKENS, "metadata": {"user_id": "u_session_s"}},
    "/v1/responses": {"input": "x", "store": False, "prompt_cache_key": "s"},
}
MARK = "wire"
GENERATOR = ScriptedGenerator(script=answer(*[" token"] * TOKENS))
LIMITS = {"retry_buffer_bytes": 2**30}  # 32 answers at once are all kept, as one is
SETTINGS = Settings(server=ServerSettings.model_validate({"port": 0, "admin_port": 0}), limits=LimitsSettings.model_validate(LIMITS))
DIRECTORY = FixedDirectory([ModelCard(id="double", created=0, owned_by="pomona")])
STATUS = FixedStatus(())
KEY, SECRET = make_key("bench", now=0, allowance=Allowance(requests_per_minute=10**9, tokens_per_minute=10**12, concurrent=1000))
Headers = Sequence[tuple[bytes, bytes]]
PLAIN: Headers = [(b"content-type", b"application/json")]
KEYED: Headers = [*PLAIN, (b"authorization", f"Bearer {SECRET}".encode())]
JOINED: Headers = [*KEYED, (b"x-stainless-retry-count", b"0")]


def body_of(path: str, *, session: bool = False) -> bytes:
    """A body that asks for a stream; a `session` makes it wait for its client to come back."""
    told = {name: value for name, value in APIS[path].items() if session or name not in {"prompt_cache_key", "metadata"}}
    return json.dumps({"model": "double", "stream": True, **told}).encode()


async def read_bare() -> None:
    """The events alone."""
    async for _ in GENERATOR.generate(GenerateRequest(id="x", model="double", text="x")):
        pass


async def read_through(app: ASGIApp, path: str, headers: Headers, body: bytes) -> None:
    """The ASGI application with a server that throws the bytes away."""
    asked = False
    gone = asyncio.Event()

    async def receive() -> Message:
        nonlocal asked
        if asked:
            await gone.wait()
        asked = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        assert message.get("status", 200) == 200

    scope: Scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
    await app(scope, receive, send)


async def read_through_sockets(url: str, path: str) -> None:
    """A real connection, read to its end."""
    address, body = urlsplit(url), body_of(path)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    headers = f"Host: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    writer.write(f"POST {path} HTTP/1.1\r\n{headers}\r\n\r\n".encode() + body)
    while await reader.read(65536):
        pass
    writer.close()


async def row(url: str, path: str, streams: int) -> str:
    """One row of the table: for each way the fastest round, in microseconds per token; other work on the machine only adds to it."""
    ways: tuple[Callable[[], Awaitable[None]], ...] = (
        read_bare,
        partial(read_through, OPEN, path, PLAIN, body_of(path)),
        partial(read_through, KEPT, path, KEYED, body_of(path)),
        partial(read_through, KEPT, path, JOINED, body_of(path, session=True)),
        partial(read_through_sockets, url, path),
    )
    fastest = [math.inf] * len(ways)
    for _ in range(ROUNDS):
        for place, way in enumerate(ways):
            begun = time.perf_counter()
            await asyncio.gather(*(way() for _ in range(streams)))
            fastest[place] = min(fastest[place], (time.perf_counter() - begun) / (streams * TOKENS) * 1e6)
    return f"| {path} | {streams} | " + " | ".join(f"{each:.1f}" for each in fastest) + " |"


async def main() -> None:
    """Print one row per API and number of streams."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help=f"put the table between the marks <!-- {MARK} --> of this file")
    target: Path | None = parser.parse_args().write
    configure_logging("warning", "human")
    urls: asyncio.Future[Urls] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    serving = asyncio.ensure_future(serve(OPEN, ADMIN, SETTINGS.server, urls.set_result, stop=stop))
    url = (await urls).public
    rows = ["| API | streams | events alone | application | with a key | to be joined | sockets |", "|---|---:|---:|---:|---:|---:|---:|"]
    for path in APIS:
        for streams in STREAMS:
            rows.append(await row(url, path, streams))
            print(rows[-1], flush=True)
    stop.set()
    await serving
    if target:
        machine = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
        told = f"{machine}, {TOKENS} tokens a stream; microseconds per token, the fastest of {ROUNDS} rounds."
        write(target, told, rows)


def write(target: Path, told: str, rows: Sequence[str]) -> None:
    """Put the table into `target`, between its marks."""
    before, _, rest = target.read_text().partition(f"<!-- {MARK} -->\n")
    _, _, after = rest.partition(f"<!-- /{MARK} -->\n")
    target.write_text(f"{before}<!-- {MARK} -->\n{told}\n\n" + "\n".join(rows) + f"\n<!-- /{MARK} -->\n{after}")


METRICS = Metrics()
BACKEND = Backend(generator=GENERATOR, directory=DIRECTORY, status=STATUS, tokenization=FixedTokenization())
OPEN = create_public_app(BACKEND, SETTINGS, METRICS)
KEPT = create_public_app(BACKEND, SETTINGS, METRICS, KeyRing([KEY]))
ADMIN = create_admin_app(BACKEND, SETTINGS, METRICS)

if __name__ == "__main__":
    asyncio.run(main())
