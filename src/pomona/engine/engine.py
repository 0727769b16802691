"""One model answering many prompts at once. Plain synchronous code: no threads, no sockets, no words.

`step` schedules, builds, starts and collects. The tokens that a step returns were made by the passes before the last one it
started: while the caller handles them, a GPU is at work.
"""

import secrets
from dataclasses import replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from pomona.core.errors import Overloaded, PomonaError
from pomona.core.generation import FinishReason, Prompt, TokenStep
from pomona.core.settings import EngineSettings
from pomona.core.status import EngineCounters
from pomona.engine.adapters.bank import AdapterBank
from pomona.engine.adapters.queue import AdapterQueue
from pomona.engine.admission import Bounds, check
from pomona.engine.attention.attend import install
from pomona.engine.binding import Binder, Failures, must_wait
from pomona.engine.cache.disk.absent import NoDisk
from pomona.engine.cache.disk.opening import DiskPlace, open_tier
from pomona.engine.cache.disk.prices import Prices
from pomona.engine.cache.memory import kv_budget, step_tokens
from pomona.engine.cache.model_cache import ModelCache
from pomona.engine.endings import append, reason_of_end
from pomona.engine.grammar.compiler import GrammarCompiler
from pomona.engine.grammar.masks import Verdicts
from pomona.engine.passes.reading import Choice, read
from pomona.engine.passes.runner import Runner
from pomona.engine.passes.running import Running
from pomona.engine.passes.work import Pass
from pomona.engine.probe import prepare
from pomona.engine.scheduling.meter import PassShape, decode_shape, prefill_shape
from pomona.engine.scheduling.outlook import Outlook
from pomona.engine.scheduling.scheduler import Scheduler
from pomona.engine.scores import PASS_BYTES
from pomona.engine.sequence import Sequence
from pomona.engine.speculation.speculator import Speculator
from pomona.engine.timeline.timeline import Timeline
from pomona.engine.vision.vision import Vision, accept
from pomona.models.device import keeps_cpu_busy

Steps = list[tuple[str, TokenStep]]
LONGEST_WAIT_SECONDS = 0.005
"""For a grammar, when nothing else can be done: then the loop looks for commands."""


class Engine:
    """Rows come in by `add`, go out by `step`, `cancel`. Not thread-safe: one thread owns it, as it owns MLX's streams."""

    def __init__(
        self,
        model: nn.Module,
        settings: EngineSettings,
        *,
        vocabulary: int,
        max_context: int,
        grammars: GrammarCompiler | None = None,
        vision: Vision | None = None,
    ) -> None:
        install()
        self.vocabulary = vocabulary
        self.budget_bytes = kv_budget(settings)
        self._settings = settings
        self._cache = ModelCache(model, settings, self.budget_bytes)
        self.max_context = min(settings.max_context or max_context, max_context, self._cache.longest_row())
        self._vision = vision
        self._runner = Runner(model, self._cache, vocabulary, vision)
        self.warnings = prepare(self._runner, self._cache, settings)
        self._adapters = self._runner.adapters = AdapterBank(model, settings.adapter_bytes, batches=self._runner.batches)
        self._adapter_queue = AdapterQueue[Sequence](self._adapters)
        self._scheduler = Scheduler(self._cache, settings)
        self._scheduler.costs.batches = self._runner.batches
        self._binder = Binder(vocabulary, grammars)
        self.speculate(Speculator(settings))
        self.timeline = Timeline()
        self._disk = NoDisk()
        self.outlook = Outlook(compiling=self._runner.compiled is not None or mx.default_device() != mx.cpu, computing=keeps_cpu_busy())
        self._adapters.before_loading = self.outlook.look_at_adapter
        self._rows: dict[str, Sequence] = {}
        self._only_scored: dict[Sequence, None] = {}
        self._resumed: dict[Sequence, None] = {}
        self._running = Running(self._runner, self._scheduler.meter, self._note_end)
        self._arrivals = 0
        self._steps = 0

    @property
    def page_bytes(self) -> int:
        """Bytes of one KV page over all layers."""
        return self._cache.page_bytes

    def speculate(self, speculator: Speculator) -> None:
        """Guess by `speculator` from now on, where the model's state can be taken back."""
        self.speculator = speculator
        if speculator.draft:
            self.budget_bytes += speculator.draft.budget_bytes
            self.warnings += speculator.draft.warnings
        if not self._cache.rolls_back:
            speculator.turn_off()

    def add(self, prompt: Prompt) -> None:
        """Queue a prompt. Raises InvalidRequest, ContextOverflow, AdapterUnusable or Overloaded.

        One with an adapter gets a step without tokens as soon as that is there; where it has to wait for room, it may still be lost.
        """
        check(prompt, Bounds(vocabulary=self.vocabulary, context=self.max_context, grammars=self._binder.takes_grammars), self._rows)
        if len(self._rows) >= self._settings.max_rows + self._settings.max_waiting:
            raise Overloaded(f"{self._settings.max_waiting} requests are waiting already. Try again later or raise engine.max_waiting.")
        pictures = accept(self._vision, prompt)
        if prompt.answered_ids:  # the scores of the prompt came with the first token
            prompt = replace(prompt, prompt_logprobs=None)
        self._arrivals += 1
        seed = prompt.sampling.seed if prompt.sampling.seed is not None else secrets.randbits(63)
        row = Sequence(
            prompt=prompt, seed=seed, arrival=self._arrivals, tokens=[*prompt.token_ids, *prompt.answered_ids], pictures=pictures
        )
        self._adapter_queue.add(row)
        row.chunk_limit = max(self._settings.page_tokens, PASS_BYTES // (4 * self.vocabulary))
        self._binder.bind(row)
        self._rows[prompt.id] = row
        if prompt.answered_ids:
            self._resumed[row] = None
        if not prompt.max_tokens:
            self._only_scored[row] = None
        self._scheduler.add(row)
        self.timeline.add(row)
        self._disk.expect(row)

    def cancel(self, id: str) -> None:
        """Drop a row and free its pages at once; unknown ids are ignored."""
        if id in self._rows:
            self._end(self._rows[id])

    def pause(self, id: str) -> None:
        """Stop stepping a row, keeping its pages as long as nobody needs them."""
        if id in self._rows:
            self._rows[id].paused = True
            self._rows[id].turn.token_at = None

    def resume(self, id: str) -> None:
        """Step a paused row again."""
        if id in self._rows:
            self._rows[id].paused = False

    def keep_on_disk(self, place: DiskPlace, prices: Prices | None = None) -> None:
        """Keep beginnings of prompts at `place`, and look for them there."""
        self._disk = open_tier(self._cache, place, self._runner.finish, prices)
        self._scheduler.recall = self._disk.recall

    def shrink(self, *, disk: bool = False) -> None:
        """Give back what no row needs now: pages and states that are kept for later prompts, also on `disk`, and freed buffers."""
        self._cache.shrink()
        if disk:
            self._disk.clear()
        mx.clear_cache()

    @property
    def has_work(self) -> bool:
        """A call of `step` would get further. Paused rows do not count."""
        return self._scheduler.has_work or self._running.work is not None or self._adapter_queue.has_work or self._disk.has_work

    def step(self) -> Steps:
        """Start the next passes; return what the finished ones made, as (prompt id, tokens)."""
        self.timeline.begin(idle=self._running.work is None)
        made = self._settle()
        made += self._guess()
        self._disk.advance(busy=self._scheduler.has_work or self._running.work is not None)
        plan = self._scheduler.schedule()
        self.timeline.look(self._scheduler)
        self.outlook.look(plan)
        self._runner.part = self.outlook.part if self.outlook.announced else None
        for rows in self._runner.decode_groups(plan.decode):
            going_on = [row for row in rows if not row.finished]  # the group before may have shown that one had ended
            made += self._decode(going_on) if going_on else []
        for chunks in self._runner.prefill_groups(plan.prefill):
            made += self._prefill(chunks)
        if not plan.decode and not plan.prefill:
            made += self._finish_running()
        made += self._end_scored()
        if self._running.work is None:
            self.speculator.idle()
            self._scheduler.meter.rest()
        self._steps += 1
        return made

    def stats(self) -> EngineCounters:
        """Counts after the last step."""
        allocators = [group.allocator for group in self._cache.groups]
        counted: dict[str, Any] = {**self._scheduler.counts(), **(self._vision.counts() if self._vision else {}), **self._disk.counts()}
        return EngineCounters(
            steps=self._steps,
            pages_used=sum(a.held for a in allocators),
            pages_cached=sum(a.idle for a in allocators),
            pages_total=sum(a.limit - 1 for a in allocators),
            kv_bytes=self._cache.nbytes + self.speculator.kv_bytes,
            device_peak_bytes=mx.get_peak_memory(),
            adapters=self._adapters.count,
            adapter_bytes=self._adapters.nbytes,
            drafted_tokens=self.speculator.drafted_tokens,
            accepted_tokens=self.speculator.accepted_tokens,
            **counted,
        )

    def check_integrity(self) -> None:
        """Raise AssertionError if pages leaked or rows are lost."""
        self._cache.check_integrity(self._scheduler.rows(), self._disk.held_pages)
        self._adapters.check_integrity([row.adapter for row in self._scheduler.rows()])
        if {row.id for row in self._scheduler.rows()} != set(self._rows):
            raise AssertionError("engine: scheduler and engine disagree on which rows there are")

    def close(self) -> None:
        """Drop all rows and wait for the device."""
        for id in list(self._rows):
            self.cancel(id)
        self._running.work = None
        self._runner.finish()
        self._disk.close()
        self._binder.close()

    def _settle(self) -> Steps:
        """What rows waited for besides their turn: adapters, grammars, pictures."""
        made = self._fail(self._adapter_queue.advance())
        made += self._fail(self._binder.settle())
        made += [(row.id, TokenStep()) for row in self._adapter_queue.take_ready()]
        made += self._end_answered()
        if self._vision is not None:
            self._vision.advance(self._scheduler.running, step_tokens(self._settings))
        return made

    def _guess(self) -> Steps:
        """Read what must be known before guesses can be made, and make them."""
        made: Steps = []
        if self._running.work is not None and self._running.work.guesses:  # only its tokens say where its rows stand
            made += self._finish_running()
        rows = [row for row in self._scheduler.running if row.wants_decode]
        if self.speculator.hopeful(rows):
            if any(row.pending for row in rows):
                made += self._finish_running()
            self.speculator.guess([row for row in rows if row.wants_decode and not row.finished])
        return made

    def _decode(self, rows: list[Sequence]) -> Steps:
        """One more token for each row. Where masks depend on tokens that are not read yet, they are made while the device computes."""
        if any(row.guesses for row in rows):
            return self._check_guesses(rows)
        if not must_wait(rows):
            return self._start(self._runner.decode(rows), decode_shape(rows))
        work = self._runner.forward(rows)
        made = self._start(work, decode_shape(rows))
        verdicts = self._binder.masks(rows)
        made += self._end_judged(rows, verdicts)
        self._runner.choose(work, verdicts.masks)
        self._runner.go_on(work)
        return made

    def _prefill(self, chunks: list[tuple[Sequence, int]]) -> Steps:
        """The next tokens of some prompts."""
        shape = prefill_shape(chunks)
        made = self._start(self._runner.prefill(chunks), shape)
        for row, _ in chunks:
            self._cache.commit(row)
        return made

    def _check_guesses(self, rows: list[Sequence]) -> Steps:
        """One more token for each row, and those of its guesses that are right."""
        verdicts = self._binder.masks_ahead(rows)
        if made := self._end_judged(rows, verdicts):
            left = [row for row in rows if not row.finished]
            return made + (self._decode(left) if left else [])
        work = self._runner.forward_guesses(rows)
        self._runner.choose(work, verdicts.masks)
        return self._start(work, decode_shape(work.lines))

    def _end_judged(self, rows: list[Sequence], verdicts: Verdicts) -> Steps:
        """Rows behind whose tokens their grammars allow no further one."""
        made = [(rows[line].id, self._last(rows[line], "stop")) for line in verdicts.ended]
        return made + self._fail([(rows[line], error) for line, error in verdicts.failed])

    def _start(self, work: Pass, shape: PassShape | None) -> Steps:
        """Start a pass, and hand out what the one before made."""
        return self._collect(self._running.start(work, shape))

    def _finish_running(self) -> Steps:
        """Nothing can be started: read what is done, or wait for a grammar."""
        if self._running.work is None:
            self._binder.wait(LONGEST_WAIT_SECONDS)
            self._disk.wait(LONGEST_WAIT_SECONDS)
        return self._collect(self._running.finish())

    def _note_end(self, work: Pass) -> None:
        """The pass that runs has ended just now."""
        rows = len(work.rows) if work.sampled else 0
        self.speculator.ended(rows=rows, lines=len(work.lines), waited=work.waited)
        self.timeline.ended(work.rows, work.counts)

    def _collect(self, work: Pass | None) -> Steps:
        choices = read(work) if work else []
        return [self._take(choice) for choice in choices if not choice.row.finished]

    def _take(self, choice: Choice) -> tuple[str, TokenStep]:
        """The row's next token is known; where guesses were checked, also those behind each right one. See whether one is the last."""
        row = choice.row
        row.pending -= 1
        if not row.pending:
            row.pending_token = None
        first = not row.made
        right = 0 if choice.guesses is None else self._keep_right_guesses(row, choice.tokens, choice.guesses)
        try:
            taken, reason = append(row, choice.tokens[: right + 1])
        except PomonaError as error:
            return self._lost(row, error)
        self._scheduler.note_tokens(row, len(taken), first=first)
        if row.tables or not self._cache.groups:
            self._cache.commit(row)
        if reason:
            self._end(row)
        return row.id, TokenStep(
            token_ids=tuple(taken),
            logprobs=tuple(choice.scores[: len(taken)]),
            finish_reason=reason,
            cached_tokens=row.cached_tokens if first or reason else 0,
            prompt_logprobs=tuple(row.scores) if first else (),
            drafted_tokens=len(choice.guesses or ()),
            accepted_tokens=right,
            times=self.timeline.tell(row, last=reason is not None),
        )

    def _keep_right_guesses(self, row: Sequence, chosen: list[int], guesses: list[int]) -> int:
        """How many guesses are what was chosen in their places; what was computed for the others is taken back."""
        right = next((place for place, guess in enumerate(guesses) if guess != chosen[place]), len(guesses))
        self._cache.roll_back(row, len(guesses) - right)
        self._runner.note(row, chosen[: right + 1])
        self.speculator.count(len(guesses), right)
        return right

    def _last(self, row: Sequence, reason: FinishReason) -> TokenStep:
        """The row ends without a further token."""
        self._end(row)
        scores, times = () if row.made else tuple(row.scores), self.timeline.tell(row, last=True)
        return TokenStep(finish_reason=reason, cached_tokens=row.cached_tokens, prompt_logprobs=scores, times=times)

    def _end_scored(self) -> Steps:
        """Rows that only wanted their prompts scored, and are."""
        done = [row for row in self._only_scored if len(row.scores) == len(row.prompt.token_ids) - 1]
        return [(row.id, self._last(row, "length")) for row in done]

    def _end_answered(self) -> Steps:
        """Rows whose answers were complete when they came: the engine before this one ended just then."""
        made: Steps = []
        for row in [row for row in self._resumed if not row.held]:
            del self._resumed[row]
            if reason := reason_of_end(row):
                made.append((row.id, self._last(row, reason)))
        return made

    def _fail(self, failures: Failures) -> Steps:
        return [self._lost(row, error) for row, error in failures]

    def _lost(self, row: Sequence, error: PomonaError) -> tuple[str, TokenStep]:
        self._end(row)
        return row.id, TokenStep(failure=error)

    def _end(self, row: Sequence) -> None:
        row.finished = True
        del self._rows[row.id]
        self._only_scored.pop(row, None)
        self._resumed.pop(row, None)
        self._scheduler.remove(row)
        self._runner.forget(row)
        self.speculator.forget(row)
        self._binder.forget(row)
        self._adapter_queue.forget(row)
        self._disk.forget(row)
