"""Sends a plan's requests and times what comes back.

In the open loop times count from the moment when a request was due, so that a slow client or server cannot hide queueing
(coordinated omission).
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, cast

import httpx

from pomona.core.errors import NotReady, PomonaError
from pomona.core.generation import Usage
from pomona.ops.load.plan import Call, LoadPlan, calls
from pomona.ops.load.prompts import CALIBRATION_WORDS, PromptWriter, words
from pomona.ops.remote import TIMEOUT
from pomona.ops.remote_answer import error_from, read_usage
from pomona.ops.sse import payloads

Clock = Callable[[], float]


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What one request met. Times are in seconds after it was due; `gaps` lie between chunks that carried text."""

    call: Call
    problem: str | None = None
    first: float | None = None
    last: float | None = None
    gaps: list[float] = field(default_factory=list[float])
    usage: Usage = field(default_factory=Usage)
    total: float = 0.0
    """When the last byte came."""


@dataclass(slots=True, kw_only=True)
class LoadRun:
    """The outcomes of a run, in order of their end, and how long it took in seconds from first request to last byte."""

    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    seconds: float = 0.0
    under_way: int = 0
    most_under_way: int = 0


Watcher = Callable[[LoadRun], None]


async def calibrate(plan: LoadPlan, client: httpx.AsyncClient) -> PromptWriter:
    """Ask the server how many tokens two texts have. Also warms it up. Raises PomonaError when it cannot answer."""
    counts = [
        (count, await _count_tokens(plan, client, words(count, plan.seed))) for count in (CALIBRATION_WORDS // 8, CALIBRATION_WORDS // 2)
    ]
    return PromptWriter.from_counts(counts[0], counts[1])


async def run_load(
    plan: LoadPlan, client: httpx.AsyncClient, writer: PromptWriter, watch: Watcher, clock: Clock = time.perf_counter
) -> LoadRun:
    """Send all requests of `plan`; `watch` is called whenever an answer has ended. Failures are outcomes, not exceptions."""
    sender = _Sender(plan, client, writer, watch, clock)
    await (sender.open_loop() if plan.rate else sender.closed_loop())
    sender.run.seconds = clock() - sender.start
    return sender.run


class _Sender:
    def __init__(self, plan: LoadPlan, client: httpx.AsyncClient, writer: PromptWriter, watch: Watcher, clock: Clock) -> None:
        self.run = LoadRun()
        self.start = clock()
        self._plan, self._client, self._writer, self._watch, self._clock = plan, client, writer, watch, clock

    async def closed_loop(self) -> None:
        """Keep N requests under way."""
        queue = calls(self._plan)
        places = [asyncio.create_task(self._place(queue)) for _ in range(self._plan.concurrency or 1)]
        await self._finish(places)

    async def open_loop(self) -> None:
        """Send each request when it is due, whatever became of the others."""
        under_way: list[asyncio.Task[None]] = []
        for call in calls(self._plan):
            due = call.at or 0.0
            if due > self._plan.seconds:
                break
            await asyncio.sleep(max(0.0, self.start + due - self._clock()))
            under_way.append(asyncio.create_task(self._send(call, self.start + due)))
        await self._finish(under_way)

    async def _place(self, queue: Iterator[Call]) -> None:
        while self._clock() - self.start < self._plan.seconds and (call := next(queue, None)):
            await self._send(call, self._clock())

    async def _finish(self, tasks: list[asyncio.Task[None]]) -> None:
        """Wait for the answers under way; cancel those that are not done in time. Each cancelled one is an outcome with a problem."""
        if not tasks:
            return
        remaining = max(0.0, self.start + self._plan.seconds - self._clock())
        _, late = await asyncio.wait(tasks, timeout=remaining + self._plan.drain_seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, call: Call, due: float) -> None:
        outcome = Outcome(call=call)
        self.run.under_way += 1
        self.run.most_under_way = max(self.run.most_under_way, self.run.under_way)
        try:
            await self._stream(outcome, due)
        except asyncio.CancelledError:
            outcome.problem = "unfinished"
            raise
        except PomonaError as error:
            outcome.problem = error.code
        except httpx.HTTPError as error:
            outcome.problem = type(error).__name__
        finally:
            outcome.total = self._clock() - due
            self.run.under_way -= 1
            self.run.outcomes.append(outcome)
            self._watch(self.run)

    async def _stream(self, outcome: Outcome, due: float) -> None:
        body = _body(self._plan, self._writer.write(outcome.call.prompt_tokens, outcome.call.seed), outcome.call.output_tokens)
        async with self._client.stream("POST", f"{self._plan.url}/v1/completions", json=body, timeout=TIMEOUT) as response:
            if response.status_code != 200:
                raise error_from(await response.aread(), response.status_code)
            async with aclosing(payloads(response)) as chunks:
                async for payload in chunks:
                    _note(outcome, payload, self._clock() - due)
        if outcome.usage.completion_tokens == 0:
            outcome.problem = "no usage"


def _note(outcome: Outcome, payload: bytes, now: float) -> None:
    try:
        chunk = cast("dict[str, Any]", json.loads(payload))
    except ValueError:
        outcome.problem = "malformed chunk"
        return
    if "error" in chunk:
        raise error_from(payload, 200)
    if usage := cast("dict[str, Any] | None", chunk.get("usage")):
        outcome.usage = read_usage(usage)
    choices = cast("list[dict[str, Any]]", chunk.get("choices") or [])
    if choices and choices[0].get("text"):
        if outcome.last is not None:
            outcome.gaps.append(now - outcome.last)
        outcome.first = now if outcome.first is None else outcome.first
        outcome.last = now


def _body(plan: LoadPlan, prompt: str, max_tokens: int) -> dict[str, object]:
    body: dict[str, object] = {"model": plan.model, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0.0}
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body if plan.stop_at_eos else {**body, "ignore_eos": True}


async def _count_tokens(plan: LoadPlan, client: httpx.AsyncClient, text: str) -> int:
    body = {"model": plan.model, "prompt": text, "max_tokens": 1, "temperature": 0.0}
    try:
        response = await client.post(f"{plan.url}/v1/completions", json=body, timeout=TIMEOUT)
    except httpx.HTTPError as error:
        raise NotReady(f"No server answers at {plan.url} ({type(error).__name__}). Start one with `pomona serve`.") from None
    if response.status_code != 200:
        raise error_from(response.content, response.status_code)
    return int(cast("dict[str, Any]", response.json())["usage"]["prompt_tokens"])
