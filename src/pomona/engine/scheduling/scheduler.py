"""Which rows compute how many tokens in the next step. Plain Python, no arrays.

Every row that decodes takes one token of a step. Prompts share as much of the rest as `pacing.py` finds, by what passes cost (`costs.py`),
so that streams keep the gap of their class and first tokens come in time. Rows start in the order of `waiting.py` while there are
places, pages for their whole prompt, and time for one more in the gap; `places.py` knows who gives way.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from pomona.core.settings import EngineSettings
from pomona.core.tracing.times import Stage
from pomona.engine.cache.memory import step_tokens
from pomona.engine.cache.model_cache import ModelCache
from pomona.engine.scheduling.costs import PassCosts
from pomona.engine.scheduling.meter import Meter
from pomona.engine.scheduling.pacing import RELAXED, STRAINED, Pace, Pacer
from pomona.engine.scheduling.places import Places
from pomona.engine.scheduling.reading import Reading
from pomona.engine.scheduling.shares import OUTPUT_WEIGHT, Shares
from pomona.engine.scheduling.targets import RANK, Targets
from pomona.engine.scheduling.waiting import WaitingRows
from pomona.engine.sequence import Sequence

MIN_CHUNK = 64
"""Tokens. Prompts in progress are so few that each gets about this much of a step; more would all finish late."""
LOOK_AHEAD = 64
"""Waiting rows that are looked at in one step: each look costs a look-up per block of its prompt."""
AT_RISK = 0.25
"""Of the time to its first token: a row that has waited so long without a place takes one from a lower class or a richer caller."""
PARKED_SECONDS = 0.5
"""A parked row stays so at least this long."""
FIRST_OUTPUTS = 128.0
"""Tokens of an answer, expected before any has ended."""
LEARNING_RATE = 0.05


@dataclass(slots=True, frozen=True)
class Plan:
    """One step: rows that decode, and (row, tokens) that prefill."""

    decode: list[Sequence] = field(default_factory=list[Sequence])
    prefill: list[tuple[Sequence, int]] = field(default_factory=list[tuple[Sequence, int]])


class Scheduler:
    """Keeps all unfinished rows, waiting or running. `clock` is in seconds and only rises."""

    def __init__(self, cache: ModelCache, settings: EngineSettings, clock: Callable[[], float] = time.perf_counter) -> None:
        self._cache = cache
        self._clock = clock
        self._adaptive = settings.scheduling == "adaptive"
        self._token_budget = step_tokens(settings)
        self.costs = PassCosts()
        self.costs.few_sizes = cache.traceable
        self.meter = Meter(self.costs, clock)
        self._targets = Targets(settings)
        self._pacer = Pacer(self.costs, self._targets, bulk=cache.traceable)
        self._shares = Shares()
        self._asked: dict[str, float] = {}
        self._outputs = FIRST_OUTPUTS
        self._expected: Counter[str] = Counter()
        self.blocked: Stage = "turn"
        """What waiting rows wait for as a rule: rows, pages, or their turn."""
        self.recall: Callable[[Sequence], None] = lambda row: None
        """Is told of a row that comes back without its pages: it may let it wait for them."""
        self._holding = False
        self._held_back = 0
        self._chunk_tokens = 0
        most = min(settings.max_rows, self._token_budget)
        self._places = Places(cache, WaitingRows(fair=self._adaptive), most=most, clock=clock)
        self._reading = Reading(cache, self.costs, self._places, self._shares, fair=self._adaptive)

    @property
    def running(self) -> list[Sequence]:
        """Rows with places, in order."""
        return self._places.running

    @property
    def waiting(self) -> WaitingRows:
        """Rows without."""
        return self._places.waiting

    @property
    def set_back(self) -> int:
        """Times that a running row lost its place."""
        return self._places.preemptions + self._places.parkings

    def add(self, row: Sequence) -> None:
        """Take a new row."""
        turn, caller = row.turn, row.prompt.caller
        turn.arrived = self._clock()
        if not row.awaits_adapter:
            turn.charged_to = self._cache.match(row) * self._cache.page_tokens
        self._shares.enter(caller)
        work, before = len(row.tokens) - turn.charged_to + self._expected_outputs(row), self._asked.get(caller, 0.0)
        turn.key = before + 2 * work
        self._asked[caller] = before + work
        self.waiting.add(row)

    def remove(self, row: Sequence) -> None:
        """Forget a row and free what it holds."""
        self._places.remove(row)
        if self._shares.leave(row.prompt.caller):
            del self._asked[row.prompt.caller]
        if row.outputs:
            self._outputs += LEARNING_RATE * (row.outputs - self._outputs)

    def rows(self) -> Iterator[Sequence]:
        """All unfinished rows."""
        yield from self.running
        yield from self.waiting

    def note_tokens(self, row: Sequence, count: int, *, first: bool) -> None:
        """`count` more tokens of the row were read, or its `first` ones."""
        self._targets.note_tokens(row, first=first, now=self._clock())
        self._shares.charge(row.prompt.caller, OUTPUT_WEIGHT * count)

    def counts(self) -> dict[str, Any]:
        """As in `EngineCounters`."""
        return {
            "running": len(self.running),
            "waiting": len(self.waiting),
            "preemptions": self._places.preemptions,
            "parked": self._places.parked,
            "parkings": self._places.parkings,
            "held_back": self._held_back,
            "chunk_tokens": self._chunk_tokens,
            "late_first_tokens": dict(self._targets.late_first_tokens),
            "late_gaps": dict(self._targets.late_gaps),
        }

    @property
    def has_work(self) -> bool:
        """Some row could compute something now."""
        return any(not (row.paused or row.awaits_adapter or row.awaits_pages) for row in self.rows())

    def schedule(self) -> Plan:
        """Choose the next step's work and reserve pages for it."""
        plan = Plan()
        self._keep_gap()
        self._schedule_decode(plan)
        budget = self._token_budget - sum(1 + len(row.guesses) for row in plan.decode)
        pace = self._pace(plan)
        self._admit(min(budget, max(1, self.costs.tokens_within(pace.seconds, 0))), pace)
        budget -= self._schedule_decode(plan)  # rows that need not read anything decode at once
        self._reading.schedule(plan.prefill, max(0, budget), pace.seconds, beside=bool(plan.decode))
        plan.decode[:] = [row for row in plan.decode if row in self.running]  # an older prompt may have put one back
        for row in plan.decode:
            self._make_room_for_guesses(row)
        self._chunk_tokens = sum(tokens for _, tokens in plan.prefill) or self._chunk_tokens
        return plan

    def _keep_gap(self) -> None:
        """Park low rows where those above them would not have their gap."""
        decoding = [row for row in self.running if row.wants_decode]
        if not self._adaptive or self._pacer.keeps_gap(decoding, share=STRAINED):
            return
        best = min(RANK[row.prompt.priority] for row in decoding)
        while (victim := self._places.lowest_below(best)) is not None and not self._pacer.keeps_gap(decoding, share=RELAXED):
            self._places.park(victim)
            decoding = [row for row in decoding if row is not victim]

    def _schedule_decode(self, plan: Plan) -> int:
        """Add all rows that can; how many these are."""
        before, planned = len(plan.decode), set(plan.decode)
        for row in list(self.running):
            if row not in planned and row.wants_decode and row in self.running and self._places.make_room(row, row.computed + 1):
                plan.decode.append(row)
        return len(plan.decode) - before

    def _make_room_for_guesses(self, row: Sequence) -> None:
        """Nobody is put back for guesses: where there are no pages for them, there are none."""
        if row.guesses and not self._cache.reserve(row, row.computed + 1 + len(row.guesses), windows=True):
            row.guesses = []

    def _pace(self, plan: Plan) -> Pace:
        """Time for prompts; where a class will miss its first token even so, a lower one makes room, a row for each step."""
        if not self._adaptive:
            return Pace(seconds=float("inf"))
        prompts = [row for row in self.running if row.prefill_left > 0 and not row.paused]
        prompts += [row for row in islice(self.waiting, LOOK_AHEAD) if row.startable]
        pace = self._pacer.pace(plan.decode, prompts, self._clock())
        victim = None if pace.urgent is None else self._places.lowest_below(pace.urgent)
        if victim is not None:
            self._places.park(victim)
            plan.decode[:] = [row for row in plan.decode if row is not victim]
        return pace

    def _admit(self, tokens: int, pace: Pace) -> None:
        """Start waiting rows while there are places, budget and pages. Nobody overtakes a row that only lacks one of these.

        A long prompt must not keep short ones out: some more may start although it takes the whole budget.
        """
        prefilling = [row for row in self.running if row.prefill_left > 0]
        left = tokens - sum(row.prefill_left for row in prefilling)
        starts_left = max(2, tokens // MIN_CHUNK) - len(prefilling)
        in_progress = self._reading.blocks_in_progress()
        self.blocked = "turn"
        self._expect()
        passed: set[Sequence] = set()
        for _ in range(LOOK_AHEAD):
            row = self.waiting.next(self._level, passed)
            if row is None or not self._may_start(row, pace, left > 0 or starts_left > 0):
                return
            blocks = 0 if row.turn.parked else self._cache.match(row)
            row.shares = self._reading.waits_for(row, blocks, in_progress)
            if row.shares or self._rests(row) or self._recalls(row):
                passed.add(row)
                continue
            if not self._start(row, blocks):
                self.blocked = "pages"
                return
            self._expected[row.prompt.caller] += row.prefill_left + self._expected_outputs(row)
            left -= max(1, row.prefill_left)
            starts_left -= 1
            in_progress |= self._reading.promises(row)

    def _recalls(self, row: Sequence) -> bool:
        """Whether it waits for pages that it had; only where it could start else, or others would have to make room for them."""
        if not row.lost_pages or not self._places.fits(row):
            return False
        row.lost_pages = False
        self.recall(row)
        return row.awaits_pages

    def _start(self, row: Sequence, blocks: int) -> bool:
        """Let it run, whoever gives up pages for it; False where nobody does."""
        while not self._places.start(row, blocks):
            if not self._places.put_back_idle(spare=row) and not self._give_way(row):
                return False
            blocks = 0 if row.turn.parked else self._cache.match(row)
        return True

    def _may_start(self, row: Sequence, pace: Pace, has_budget: bool) -> bool:
        """Whether there is a place, and time in the step and in the gap; who is at risk takes places from others."""
        if not has_budget and not self._reading.goes_first(row):
            return False
        due = self.waiting.is_due(row)
        if pace.urgent is not None and RANK[row.prompt.priority] > pace.urgent and not due:
            return False
        while self._places.full:
            if not self._places.put_back_paused() and not self._give_way(row):
                self.blocked = "rows"
                return False
        return due or self._leaves_gap(row)

    def _leaves_gap(self, row: Sequence) -> bool:
        """Whether all have their gap with one more row; a lower class gives way."""
        if not self._adaptive:
            return True
        share = RELAXED if self._holding else 1.0
        while not self._pacer.keeps_gap([*(other for other in self.running if not other.paused), row], share=share):
            if not self._give_way(row):
                self._held_back += 1
                self._holding = True
                self.blocked = "rows"
                return False
        self._holding = False
        return True

    def _give_way(self, row: Sequence) -> bool:
        """Park a running row for one whose first token is at risk: of a lower class, or of a caller that has more places."""
        if not self._adaptive or not self._at_risk(row):
            return False
        victim = self._places.lowest_below(RANK[row.prompt.priority]) or self._places.richest(row, self._shares.level)
        if victim is not None:
            self._places.park(victim)
        return victim is not None

    def _at_risk(self, row: Sequence) -> bool:
        return not row.outputs and self._clock() - row.turn.arrived >= AT_RISK * self._targets.of(row).first_token

    def _rests(self, row: Sequence) -> bool:
        """It was parked just now."""
        return row.turn.parked and any(not other.paused for other in self.running) and self._clock() - row.turn.parked_at < PARKED_SECONDS

    def _expect(self) -> None:
        """What running rows will still cost their callers."""
        self._expected.clear()
        for row in self.running:
            self._expected[row.prompt.caller] += max(0, row.prefill_left) + self._expected_outputs(row)

    def _expected_outputs(self, row: Sequence) -> int:
        """Work that is left of its answer, as answers go."""
        return round(OUTPUT_WEIGHT * max(1.0, min(row.prompt.max_tokens, self._outputs) - row.outputs))

    def _level(self, caller: str) -> float:
        return self._shares.level(caller) + self._expected[caller]
