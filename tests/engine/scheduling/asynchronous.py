"""A device that computes while the host goes on, as a GPU does: it drives the scheduler and the meter in virtual time.

The host builds and starts a pass while the one before runs. It takes time of its own, more for the first pass of a size (products look
for their best way) and for the first of a shape of attention (cuDNN plans it). Figures are those of an 8B model in bfloat16 on an H200, as
far as they were measured; `kernel_pair` is what whole prompts say, not what a kernel alone was seen to take.
"""

from collections.abc import Sequence as ReadOnlySequence
from dataclasses import dataclass, field

from pomona.engine.attention.plans import LONG, Plans, padded_keys
from pomona.engine.passes.lines import padded_rows, padded_tokens
from pomona.engine.passes.runner import Runner
from pomona.engine.scheduling.meter import PassShape, decode_shape, prefill_shape
from pomona.engine.scheduling.scheduler import Plan
from pomona.engine.sequence import Sequence
from tests.engine.harness import family
from tests.engine.scheduling.simulated import GPU, Simulated, Story

Chunks = ReadOnlySequence[tuple[Sequence, int]]


@dataclass(kw_only=True)
class Gpu:
    """Seconds. `busy`: how many times longer the host takes for everything."""

    busy: float = 1.0
    host_decode: float = 3e-3
    host_read: float = 8e-3
    new_size: float = 8e-3
    new_plan: float = 40e-3
    new_rows: float = 60e-3
    begin: float = 1.2
    kernel_pair: float = 12e-9
    planned_pair: float = 1.1e-9
    plans: Plans = field(default_factory=Plans)
    known: set[object] = field(default_factory=set[object])
    planned: int = 0

    def decode(self, rows: int, context: int) -> tuple[float, float]:
        """Of the host, and of the device."""
        host = self.host_decode + self._once(("rows", padded_rows(rows, plain=True)), self.new_rows)
        return host * self.busy, (4.5e-3 if rows == 1 else 5.8e-3) + 4e-9 * context

    def read(self, chunks: Chunks) -> tuple[float, float]:
        """As `decode`."""
        width, rows = padded_tokens(max(count for _, count in chunks)), len(chunks)
        host = self.host_read + self._once("begin", self.begin) + self._once(("size", rows * width), self.new_size)
        device = max(4.7e-3, 2.75e-5 * rows * width) + 3e-4
        pairs = sum(width * (row.computed + width / 2) for row, _ in chunks)
        keys = padded_keys(width, max(row.computed for row, _ in chunks) + width)
        if not self.plans.pay((rows, width, keys), pairs):
            return host * self.busy, device + self.kernel_pair * pairs
        plan = self._once(("plan", rows, width, keys), self.new_plan)
        self.planned += plan > 0
        seen = pairs if width >= LONG else 2.0 * rows * width * keys  # a mask hides what is not seen; it is computed
        return (host + plan) * self.busy, device + 1e-3 + self.planned_pair * seen

    def _once(self, what: object, seconds: float) -> float:
        new = what not in self.known
        self.known.add(what)
        return seconds if new else 0.0


class Asynchronous(Simulated):
    """As `Simulated`, with a pass in flight. `passes`: (rows, tokens of the longest chunk) of each over prompts."""

    def __init__(self, gpu: Gpu) -> None:
        super().__init__(GPU, pages=20_000, step_token_budget=2048, max_rows=64, kernels="reference")
        self.gpu = gpu
        self._runner = Runner(family("llama").module, self.cache, vocabulary=8)
        self.passes: list[tuple[int, int]] = []
        self._free_at = 0.0
        self._in_flight: tuple[float, list[Sequence]] | None = None

    def step(self) -> Plan:
        """As the engine's: passes are started one behind the other, and read one behind."""
        plan = self.scheduler.schedule()
        self.now += 3e-4 * self.gpu.busy
        if plan.decode:
            self._start(decode_shape(plan.decode), self.gpu.decode(len(plan.decode), sum(row.computed for row in plan.decode)), plan.decode)
        for chunks in self._runner.prefill_groups(plan.prefill):
            self._start(prefill_shape(chunks), self.gpu.read(chunks), [], chunks)
        if not plan.decode and not plan.prefill:
            self._wait()
            self.scheduler.meter.rest()
            self.now += 1e-5
        return plan

    def read(self, id: str, tokens: int, outputs: int = 1) -> tuple[Story, list[tuple[int, int]]]:
        """A prompt from its arrival to its first token, and the passes meanwhile."""
        self.passes.clear()
        story = self.add(id, tokens, outputs)
        while story.first is None:
            self.step()
        return story, list(self.passes)

    def _start(self, shape: PassShape | None, seconds: tuple[float, float], rows: list[Sequence], chunks: Chunks = ()) -> None:
        host, device = seconds
        for row in rows:
            row.computed += 1
            row.pending += 1
        for row, count in chunks:
            row.computed += count
            self.cache.commit(row)
        if chunks:
            self.passes.append((len(chunks), max(count for _, count in chunks)))
        self.scheduler.meter.begin(shape)
        parts = self.now + host / 2  # the device has parts of a pass before all of it is built
        self.now += host
        self._free_at = max(max(self._free_at, parts) + device, self.now + 1e-4)
        self._wait()
        self._in_flight = (self._free_at, rows)

    def _wait(self) -> None:
        if self._in_flight is None:
            return
        (end, rows), self._in_flight = self._in_flight, None
        self.scheduler.meter.wait()
        self.now = max(self.now + 2e-5, end)
        self.scheduler.meter.end()
        for row in rows:
            if not row.finished:
                row.pending -= 1
                self._take(row)
