"""Three small models, a budget for two of them, and clients of every kind that want them all."""

import asyncio
import json
import random
import shutil
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import mlx.core as mx
import psutil
from openai import AsyncOpenAI

from tests.e2e.servers import MODEL, Server

STORIES, RANDOM = "stories260K", "random"
MODELS = (MODEL, STORIES, RANDOM)
SMALL = Path("tests/data/stories260K")
BUDGET_FOR_TWO = ("--set", f"residency.memory_bytes={29 * 2**30 // 10}", "--kv-cache", "1G")
"""1 GiB of keys and values is planned for each and not used; beside it none needs more than 0.4 GiB."""
TELLING = ("--set", "logging.level=info", "--set", "logging.format=json")


def write_models(folder: Path) -> Path:
    """The two that do not come with Pomona; one has random weights."""
    shutil.copytree(SMALL, folder / STORIES)
    shutil.copytree(SMALL, folder / RANDOM)
    weights = mx.load(str(SMALL / "model.safetensors"))
    assert isinstance(weights, dict)
    drawn = {name: mx.random.normal(array.shape, key=mx.random.key(n)) * 0.1 for n, (name, array) in enumerate(weights.items())}
    mx.save_safetensors(str(folder / RANDOM / "model.safetensors"), drawn)
    return folder


@dataclass(slots=True)
class Watcher:
    """Looks at a server's engine processes all the time."""

    server: Server
    most: int = 0
    seen: set[int] = field(default_factory=set[int])
    bytes: list[int] = field(default_factory=list[int])
    """Memory of the gateway, a reading a second."""

    def engines(self) -> list[int]:
        """Process ids of engines, those that are going away not counted."""
        found: list[int] = []
        for child in self.server.process.children():
            try:
                if "pomona.engine.process" in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                    found.append(child.pid)
            except psutil.NoSuchProcess:
                pass
        return found

    @contextmanager
    def watching(self) -> Generator["Watcher"]:
        """Watch for as long as the context lasts."""
        done = threading.Event()
        thread = threading.Thread(target=self._watch, args=(done,))
        thread.start()
        try:
            yield self
        finally:
            done.set()
            thread.join()

    def _watch(self, done: threading.Event) -> None:
        read_at = 0.0
        with suppress(psutil.NoSuchProcess):  # a test may end the server while it is watched
            while not done.wait(0.03):
                engines = self.engines()
                self.seen.update(engines)
                self.most = max(self.most, len(engines))
                if time.monotonic() > read_at + 1:
                    read_at = time.monotonic()
                    self.bytes.append(self.server.process.memory_info().rss)


@dataclass(slots=True)
class Crowd:
    """Clients that want any model, in any way; some leave before the end. `failures` are those that no client wants to see."""

    client: AsyncOpenAI
    seed: int = 0
    answered: int = 0
    left: int = 0
    failures: list[str] = field(default_factory=list[str])

    async def ask(self, count: int) -> None:
        """So many requests at a time."""
        await asyncio.gather(*(self._ask(self.seed * 100_000 + number) for number in range(count)))
        self.seed += 1

    async def _ask(self, number: int) -> None:
        draw = random.Random(number)
        model = draw.choice(MODELS)
        try:
            match draw.choice(("whole", "chat", "stream", "stream", "leave", "impatient")):
                case "chat" if model == MODEL:
                    chat = await self.client.chat.completions.create(
                        model=model, messages=[{"role": "user", "content": f"Say {number}"}], max_tokens=8
                    )
                    assert chat.choices[0].finish_reason in ("stop", "length")
                case "stream":
                    assert await self._stream(model, draw.randint(1, 30), leave_after=None) in ("stop", "length")
                case "leave":
                    await self._stream(model, 400, leave_after=draw.randint(1, 5))
                    self.left += 1
                case "impatient":
                    await self._leave_before_the_answer(model, draw.random())
                case _:
                    whole = await self.client.completions.create(model=model, prompt=f"Once {number}", max_tokens=draw.randint(1, 30))
                    assert whole.model == model
                    assert whole.choices[0].finish_reason in ("stop", "length")
            self.answered += 1
        except Exception as error:  # noqa: BLE001 - counted, whatever it is
            self.failures.append(f"{number} {model}: {type(error).__name__}: {error}")

    async def _stream(self, model: str, tokens: int, *, leave_after: int | None) -> str | None:
        stream = await self.client.completions.create(model=model, prompt="Once upon", max_tokens=tokens, stream=True)
        reason, pieces = None, 0
        async for chunk in stream:
            pieces += 1
            reason = chunk.choices[0].finish_reason if chunk.choices else reason
            if pieces == leave_after:
                await stream.close()
                break
        return reason

    async def _leave_before_the_answer(self, model: str, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.client.completions.create(model=model, prompt="Once", max_tokens=300)
        except TimeoutError:
            self.left += 1


def moves(log: Path) -> dict[str, list[str]]:
    """What the server's log says of each model's loads and ends, in order."""
    found: dict[str, list[str]] = {}
    for line in log.read_text().splitlines():
        if line.startswith("{"):
            entry = json.loads(line)
            if entry.get("event") in ("model_loads", "model_unloaded", "model_failed"):
                found.setdefault(entry["model"], []).append(entry["event"])
    return found
