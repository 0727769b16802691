"""What HTTP costs per token: the bare event stream of a double, the same through the application, and through real sockets.

Run `python -m benchmarks.wire`. One process, so the rows differ only by what is between generator and reader. The in-process row is
codec, recording, merging and server-sent events; the socket row adds uvicorn and a client that only counts bytes.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import urlsplit

from starlette.types import Message, Scope

from pomona.core.generation import GenerateRequest
from pomona.core.metrics import Metrics
from pomona.core.settings import ServerSettings, Settings
from pomona.core.status import ModelCard
from pomona.server.application import create_admin_app, create_public_app
from pomona.server.services import Backend
from pomona.server.serving import Urls, serve
from tests.doubles import FixedDirectory, FixedStatus, FixedTokenization, ScriptedGenerator, answer

TOKENS = 2000
ROUNDS = 5
MESSAGES = [{"role": "user", "content": "x"}]
APIS = {
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/completions": {"prompt": "x", "max_tokens": TOKENS},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": TOKENS},
    "/v1/responses": {"input": "x", "store": False},
}
BODIES = {path: json.dumps({"model": "double", "stream": True, **body}).encode() for path, body in APIS.items()}
GENERATOR = ScriptedGenerator(script=answer(*[" token"] * TOKENS))
SETTINGS = Settings(server=ServerSettings.model_validate({"port": 0, "admin_port": 0}))
DIRECTORY = FixedDirectory([ModelCard(id="double", created=0, owned_by="pomona")])
STATUS = FixedStatus(())


async def read_bare() -> None:
    """The events alone."""
    async for _ in GENERATOR.generate(GenerateRequest(id="x", model="double", text="x")):
        pass


async def read_through_application(path: str) -> None:
    """The ASGI application with a server that throws the bytes away."""
    asked = False
    gone = asyncio.Event()

    async def receive() -> Message:
        nonlocal asked
        if asked:
            await gone.wait()
        asked = True
        return {"type": "http.request", "body": BODIES[path], "more_body": False}

    async def send(_message: Message) -> None:
        return

    headers = [(b"content-type", b"application/json")]
    scope: Scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
    await APP(scope, receive, send)


async def read_through_sockets(url: str, path: str) -> None:
    """A real connection, read to its end."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    headers = f"Host: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(BODIES[path])}"
    writer.write(f"POST {path} HTTP/1.1\r\n{headers}\r\n\r\n".encode() + BODIES[path])
    while await reader.read(65536):
        pass
    writer.close()


async def microseconds_per_token(work: Callable[[], Awaitable[None]], streams: int) -> float:
    """Median over rounds of `streams` readers at once."""
    rounds: list[float] = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(streams)))
        rounds.append((time.perf_counter() - begun) / (streams * TOKENS) * 1e6)
    return statistics.median(rounds)


async def main() -> None:
    """Print one row per API and number of streams."""
    urls: asyncio.Future[Urls] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    serving = asyncio.ensure_future(serve(APP, ADMIN, SETTINGS.server, urls.set_result, stop=stop))
    url = (await urls).public
    print("api                  | streams | bare | application | sockets   (microseconds per token)")
    for path in APIS:
        for streams in (1, 8, 32):
            bare = await microseconds_per_token(read_bare, streams)
            application = await microseconds_per_token(partial(read_through_application, path), streams)
            sockets = await microseconds_per_token(partial(read_through_sockets, url, path), streams)
            print(f"{path:20} | {streams:7} | {bare:4.1f} | {application:11.1f} | {sockets:7.1f}")
    stop.set()
    await serving


METRICS = Metrics()
BACKEND = Backend(generator=GENERATOR, directory=DIRECTORY, status=STATUS, tokenization=FixedTokenization())
APP = create_public_app(BACKEND, SETTINGS, METRICS)
ADMIN = create_admin_app(BACKEND, SETTINGS, METRICS)

if __name__ == "__main__":
    asyncio.run(main())
