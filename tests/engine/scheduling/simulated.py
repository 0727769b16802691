"""A device whose costs are known drives the scheduler alone, in virtual time."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from pomona.core.generation import Priority
from pomona.core.settings import EngineSettings
from pomona.engine.cache.model_cache import ModelCache
from pomona.engine.scheduling.costs import pairs_of
from pomona.engine.scheduling.meter import PassShape, decode_shape, prefill_shape
from pomona.engine.scheduling.scheduler import Plan, Scheduler
from pomona.engine.sequence import Sequence
from tests.engine.harness import family, make_prompt


@dataclass(frozen=True)
class Machine:
    """Seconds of passes: `decode` of (pass, line, token of context), `prefill` of (pass, token, pair)."""

    decode: tuple[float, float, float]
    prefill: tuple[float, float, float]

    def decoding(self, lines: int, context: float) -> float:
        return self.decode[0] + self.decode[1] * lines + self.decode[2] * context

    def reading(self, tokens: int, start: int) -> float:
        return self.prefill[0] + self.prefill[1] * tokens + self.prefill[2] * pairs_of(tokens, start)


GPU = Machine(decode=(4.5e-3, 2e-5, 2e-8), prefill=(3e-3, 2.5e-5, 2e-9))
CORES = Machine(decode=(4e-3, 5e-4, 4e-7), prefill=(4e-3, 1.5e-4, 2e-8))
LAPTOP_70B = Machine(decode=(1.5, 0.2, 1e-5), prefill=(1.0, 0.08, 1e-6))
COSTLY_ROWS = Machine(decode=(0.01, 0.03, 0.0), prefill=(4e-3, 1e-4, 0.0))
"""Seven rows take 0.22 seconds a step."""


@dataclass
class Story:
    """What became of one row."""

    row: Sequence
    first: float | None = None
    """Seconds until its first token."""
    end: float | None = None
    """When it ended."""
    gaps: list[float] = field(default_factory=list[float])
    at: float = 0.0


class Simulated:
    """Rows in, time passes, stories out. Every prompt has tokens of its own, so nothing is shared."""

    def __init__(self, machine: Machine, *, pages: int = 4000, **changes: object) -> None:
        values: dict[str, object] = {"page_tokens": 32, "step_token_budget": 512, "max_rows": 16, "prefix_cache": False, **changes}
        self.settings = EngineSettings.model_validate(values)
        self.machine = machine
        self.now = 0.0
        module = family("llama").module
        page_bytes = ModelCache(module, self.settings, 2**22).page_bytes
        self.cache = ModelCache(module, self.settings, pages * page_bytes)
        self.scheduler = Scheduler(self.cache, self.settings, clock=lambda: self.now)
        self.stories: dict[str, Story] = {}
        self.served: dict[str, float] = {}
        """Work by caller: tokens read, and made, which count twice."""
        self.longest_step = 0.0
        self.order: list[str] = []

    def add(self, id: str, tokens: int, outputs: int, *, caller: str = "", priority: Priority = "normal") -> Story:
        prompt = replace(make_prompt(id, [1] * tokens, max_tokens=outputs), caller=caller, priority=priority)
        row = Sequence(prompt=prompt, seed=0, arrival=len(self.stories) + 1, tokens=list(prompt.token_ids))
        self.scheduler.add(row)
        story = self.stories[id] = Story(row=row, at=self.now)
        return story

    def step(self) -> Plan:
        began, plan = self.now, self.scheduler.schedule()
        groups = [plan.decode] if plan.decode else []
        for rows in groups:
            context = sum(row.computed for row in rows)
            self._run(decode_shape(rows), self.machine.decoding(len(rows), context))
            for row in rows:
                row.computed += 1
        for row, count in plan.prefill:
            self._run(prefill_shape([(row, count)]), self.machine.reading(count, row.computed))
            row.computed += count
            self.cache.commit(row)
            self._serve(row, count)
        for row in plan.decode:
            self._take(row)
        if not plan.decode and not plan.prefill:
            self.scheduler.meter.rest()
            self.now += 0.005
        self.longest_step = max(self.longest_step, self.now - began)
        return plan

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end and self.scheduler.has_work:
            self.step()
        self.now = max(self.now, end)

    def finish(self, *ids: str, steps: int = 200_000) -> None:
        """Until these rows, or all, have ended."""
        wanted = [self.stories[id] for id in ids] or list(self.stories.values())
        for _ in range(steps):
            if all(story.end is not None for story in wanted):
                return
            self.step()
        raise AssertionError(f"rows did not end: {[story.row.id for story in wanted if story.end is None]}")

    def gaps(self, ids: Iterable[str]) -> list[float]:
        return sorted(gap for id in ids for gap in self.stories[id].gaps)

    def _run(self, shape: PassShape | None, seconds: float) -> None:
        self.scheduler.meter.begin(shape)
        self.now += seconds
        self.scheduler.meter.end()

    def _take(self, row: Sequence) -> None:
        story = self.stories[row.id]
        first = not row.made
        if first:
            story.first = self.now - row.turn.arrived
            self.order.append(row.id)
        else:
            story.gaps.append(self.now - story.at)
        story.at = self.now
        row.tokens.append(1)
        self._serve(row, 2)
        self.scheduler.note_tokens(row, 1, first=first)
        self.cache.commit(row)
        if row.outputs >= row.prompt.max_tokens:
            story.end = self.now
            row.finished = True
            self.scheduler.remove(row)

    def _serve(self, row: Sequence, work: float) -> None:
        self.served[row.prompt.caller] = self.served.get(row.prompt.caller, 0.0) + work


def jain(values: Iterable[float]) -> float:
    """1 where all have the same, 1/n where one has all (Jain, Chiu and Hawe 1984)."""
    given = list(values)
    return sum(given) ** 2 / (len(given) * sum(value * value for value in given))


def quantile(values: list[float], share: float) -> float:
    """Of sorted values."""
    return values[min(len(values) - 1, int(share * len(values)))]
