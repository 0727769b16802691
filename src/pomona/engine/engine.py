"""One model answering many prompts at once. Plain synchronous code: no threads, no sockets, no words.

`step` schedules, builds, starts and collects. The tokens that a step returns were made by the passes before the last one it
started: while the caller handles them, a GPU is at work.
"""

import secrets
from typing import TYPE_CHECKING, Any, cast

import mlx.core as mx
import mlx.nn as nn

from pomona.core.errors import ContextOverflow, InvalidRequest, Overloaded
from pomona.core.generation import FinishReason, Prompt, TokenLogprobs, TokenStep
from pomona.core.settings import EngineSettings
from pomona.engine import attention
from pomona.engine.cache.model_cache import ModelCache
from pomona.engine.memory import kv_budget
from pomona.engine.probe import prove_batching
from pomona.engine.protocol import Stats
from pomona.engine.runner import Pass, Runner
from pomona.engine.sampling import Sampled
from pomona.engine.scheduler import Scheduler
from pomona.engine.sequence import Sequence

if TYPE_CHECKING:
    from pomona.models.loading import LoadedModel

Steps = list[tuple[str, TokenStep]]


def build_engine(loaded: "LoadedModel", settings: EngineSettings) -> "Engine":
    """An engine for a loaded model. The KV budget is planned from the memory that is free now."""
    return Engine(loaded.module, settings, vocabulary=loaded.vocabulary, max_context=loaded.max_context)


class Engine:
    """Rows come in by `add`, go out by `step`, `cancel`. Not thread-safe: one thread owns it, as it owns MLX's streams."""

    def __init__(self, model: nn.Module, settings: EngineSettings, *, vocabulary: int, max_context: int) -> None:
        attention.install()
        self.vocabulary = vocabulary
        self.budget_bytes = kv_budget(settings)
        self._settings = settings
        self._cache = ModelCache(model, settings, self.budget_bytes)
        self.max_context = min(settings.max_context or max_context, max_context, self._cache.longest_row())
        self._runner = Runner(model, self._cache, vocabulary)
        self.warnings = prove_batching(self._runner, self._cache)
        self._scheduler = Scheduler(self._cache, max_rows=settings.max_rows, token_budget=settings.step_token_budget)
        self._rows: dict[str, Sequence] = {}
        self._running: Pass | None = None
        self._arrivals = 0
        self._steps = 0

    @property
    def page_bytes(self) -> int:
        """Bytes of one KV page over all layers."""
        return self._cache.page_bytes

    def add(self, prompt: Prompt) -> None:
        """Queue a prompt. Raises InvalidRequest, ContextOverflow or Overloaded."""
        self._check(prompt)
        self._arrivals += 1
        seed = prompt.sampling.seed if prompt.sampling.seed is not None else secrets.randbits(63)
        row = Sequence(prompt=prompt, seed=seed, arrival=self._arrivals, tokens=list(prompt.token_ids))
        self._rows[prompt.id] = row
        self._scheduler.add(row)

    def cancel(self, id: str) -> None:
        """Drop a row and free its pages at once; unknown ids are ignored."""
        if id in self._rows:
            self._end(self._rows[id])

    def pause(self, id: str) -> None:
        """Stop stepping a row, keeping its pages as long as nobody needs them."""
        if id in self._rows:
            self._rows[id].paused = True

    def resume(self, id: str) -> None:
        """Step a paused row again."""
        if id in self._rows:
            self._rows[id].paused = False

    @property
    def has_work(self) -> bool:
        """A call of `step` would get further. Paused rows do not count."""
        return self._scheduler.has_work or self._running is not None

    def step(self) -> Steps:
        """Start the next passes; return what the finished ones made, as (prompt id, tokens)."""
        plan = self._scheduler.schedule()
        made: Steps = []
        for rows in self._runner.decode_groups(plan.decode):
            made += self._start(self._runner.decode(rows))
        for chunks in self._runner.prefill_groups(plan.prefill):
            made += self._start(self._runner.prefill(chunks))
            for row, _ in chunks:
                self._cache.commit(row)
        if not plan.decode and not plan.prefill:
            made += self._finish_running()
        self._steps += 1
        return made

    def stats(self) -> Stats:
        """Counts after the last step."""
        allocators = [group.allocator for group in self._cache.groups]
        return Stats(
            steps=self._steps,
            running=len(self._scheduler.running),
            waiting=len(self._scheduler.waiting),
            pages_used=sum(a.held for a in allocators),
            pages_cached=sum(a.idle for a in allocators),
            pages_total=sum(a.limit - 1 for a in allocators),
            kv_bytes=self._cache.nbytes,
            preemptions=self._scheduler.preemptions,
            device_peak_bytes=mx.get_peak_memory(),
        )

    def check_integrity(self) -> None:
        """Raise AssertionError if pages leaked or rows are lost."""
        self._cache.check_integrity(self._scheduler.rows())
        if {row.id for row in self._scheduler.rows()} != set(self._rows):
            raise AssertionError("engine: scheduler and engine disagree on which rows there are")

    def close(self) -> None:
        """Drop all rows and wait for the device."""
        for id in list(self._rows):
            self.cancel(id)
        self._running = None
        self._runner.wait()

    def _check(self, prompt: Prompt) -> None:
        length, total = len(prompt.token_ids), len(prompt.token_ids) + prompt.max_tokens
        if not length:
            raise InvalidRequest("The prompt is empty. Give at least one token.")
        if prompt.id in self._rows:
            raise InvalidRequest(f"A request with the id {prompt.id!r} is running already. Choose another id.")
        if total > self.max_context:
            raise ContextOverflow(
                f"{length} prompt tokens and max_tokens={prompt.max_tokens} exceed the context of {self.max_context} tokens. "
                "Shorten the prompt or lower max_tokens."
            )
        wrong = next((t for t in (*prompt.token_ids, *prompt.sampling.logit_bias) if not 0 <= t < self.vocabulary), None)
        if wrong is not None:
            raise InvalidRequest(f"Token id {wrong!r} is not in the vocabulary: allowed are 0 to {self.vocabulary - 1}.")
        if len(self._rows) >= self._settings.max_rows + self._settings.max_waiting:
            raise Overloaded(f"{self._settings.max_waiting} requests are waiting already. Try again later or raise engine.max_waiting.")

    def _start(self, work: Pass) -> Steps:
        """Start a pass once the one before has run, and hand out what that one made."""
        self._runner.start(work)
        finished, self._running = self._running, work
        return self._collect(finished)

    def _finish_running(self) -> Steps:
        self._runner.wait()
        finished, self._running = self._running, None
        return self._collect(finished)

    def _collect(self, work: Pass | None) -> Steps:
        if work is None or work.sampled is None:
            return []
        tokens = cast("list[int]", work.sampled.tokens.tolist())
        logprobs = _read_logprobs(work.sampled, work.rows)
        return [
            (row.id, self._take(row, token, logprobs.get(line)))
            for line, (row, token) in enumerate(zip(work.rows, tokens, strict=True))
            if not row.finished
        ]

    def _take(self, row: Sequence, token: int, logprobs: TokenLogprobs | None) -> TokenStep:
        """The row's next token is known: keep it, and see whether it is the last."""
        row.pending -= 1
        if not row.pending:
            row.pending_token = None
        first = not row.outputs
        stopped = token in row.prompt.stop_token_ids
        row.tokens.append(token)
        if row.tables or not self._cache.groups:
            self._cache.commit(row)
        reason: FinishReason | None = "stop" if stopped else "length" if row.outputs >= row.prompt.max_tokens else None
        if reason:
            self._end(row)
        return TokenStep(
            token_ids=() if stopped else (token,),
            logprobs=() if stopped or logprobs is None else (logprobs,),
            finish_reason=reason,
            cached_tokens=row.cached_tokens if first or reason else 0,
        )

    def _end(self, row: Sequence) -> None:
        row.finished = True
        del self._rows[row.id]
        self._scheduler.remove(row)
        self._runner.forget(row)


def _read_logprobs(sampled: Sampled, rows: list[Sequence]) -> dict[int, TokenLogprobs]:
    """By line of the pass, for the rows that asked."""
    if sampled.chosen is None:
        return {}
    chosen = cast("list[float]", sampled.chosen.tolist())
    none: list[list[Any]] = [[]] * len(chosen)
    ids = none if sampled.top_ids is None else cast("list[list[int]]", sampled.top_ids.tolist())
    tops = none if sampled.top_logprobs is None else cast("list[list[float]]", sampled.top_logprobs.tolist())
    read: dict[int, TokenLogprobs] = {}
    for line, logprob, top_ids, top in zip(sampled.logprob_rows, chosen, ids, tops, strict=True):
        most = rows[line].prompt.sampling.logprobs or 0
        read[line] = TokenLogprobs(logprob=logprob, top=tuple(zip(top_ids[:most], top[:most], strict=True)))
    return read
