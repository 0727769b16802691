"""Which rows compute how many tokens in the next step. Plain Python, no arrays.

A step has a budget of tokens: every row that decodes takes one, prompts share the rest in chunks. Rows are admitted in order
(`Sequence.order`: arrival, with a head start for their priority) while there are pages for their whole prompt. When a row finds no
page, a paused row is put back, else the last in order: it loses its pages, keeps its tokens, and is computed again (mostly out of
the prefix cache) when there is room.
"""

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field

from pomona.core.tracing.times import Stage
from pomona.engine.cache.model_cache import ModelCache
from pomona.engine.sequence import Sequence

MIN_CHUNK = 64
"""Tokens. Prompts in progress are so few that each gets about this much of a step; more would all finish late."""

LOOK_AHEAD = 64
"""Waiting rows that are looked at in one step: each look costs a look-up per block of its prompt."""


@dataclass(slots=True, frozen=True)
class Plan:
    """One step: rows that decode, and (row, tokens) that prefill."""

    decode: list[Sequence] = field(default_factory=list[Sequence])
    prefill: list[tuple[Sequence, int]] = field(default_factory=list[tuple[Sequence, int]])


class Scheduler:
    """Keeps all unfinished rows, waiting or running."""

    def __init__(self, cache: ModelCache, *, max_rows: int, token_budget: int) -> None:
        self._cache = cache
        self._max_rows = min(max_rows, token_budget)
        self._token_budget = token_budget
        self.waiting: list[Sequence] = []  # in order, as `running` is
        self.running: list[Sequence] = []
        self.preemptions = 0
        self.blocked: Stage = "turn"
        """What waiting rows wait for as a rule: rows, pages, or their turn."""

    def add(self, row: Sequence) -> None:
        """Take a new row."""
        insort(self.waiting, row, key=_order)

    def remove(self, row: Sequence) -> None:
        """Forget a row and free what it holds."""
        if row in self.running:
            self.running.remove(row)
        else:
            self.waiting.remove(row)
        self._cache.release(row)

    def rows(self) -> Iterator[Sequence]:
        """All unfinished rows."""
        yield from self.running
        yield from self.waiting

    @property
    def has_work(self) -> bool:
        """Some row could compute something now."""
        return any(not (row.paused or row.awaits_adapter or row.awaits_pages) for row in self.rows())

    def schedule(self) -> Plan:
        """Choose the next step's work and reserve pages for it."""
        plan = Plan()
        self._schedule_decode(plan)
        budget = self._token_budget - sum(1 + len(row.guesses) for row in plan.decode)
        self._admit(budget)
        self._schedule_prefill(plan, budget)
        plan.decode[:] = [row for row in plan.decode if row in self.running]  # an older prompt may have put one back
        for row in plan.decode:
            self._make_room_for_guesses(row)
        return plan

    def _schedule_decode(self, plan: Plan) -> None:
        for row in list(self.running):
            if row in self.running and row.wants_decode and self._make_room(row, row.computed + 1):
                plan.decode.append(row)

    def _make_room_for_guesses(self, row: Sequence) -> None:
        """Nobody is put back for guesses: where there are no pages for them, there are none."""
        if row.guesses and not self._cache.reserve(row, row.computed + 1 + len(row.guesses), windows=True):
            row.guesses = []

    def _admit(self, budget: int) -> None:
        """Start waiting rows while there are places, budget and pages. Nobody overtakes a row that only lacks pages.

        A long prompt must not keep short ones out: some more may start although it takes the whole budget.
        """
        prefilling = [row.prefill_left for row in self.running if row.prefill_left > 0]
        budget -= sum(prefilling)
        starts_left = max(2, self._token_budget // MIN_CHUNK) - len(prefilling)
        in_progress = self._blocks_in_progress()
        self.blocked = "turn"
        startable = [row for row in self.waiting if not (row.paused or row.pending or row.awaits_adapter or row.awaits_pages)]
        for row in startable[:LOOK_AHEAD]:
            if budget <= 0 and starts_left <= 0:
                return
            if len(self.running) >= self._max_rows and not self._put_back_a_paused_row():
                self.blocked = "rows"
                return
            blocks = self._cache.match(row)
            row.shares = self._next_shared(row, blocks) in in_progress and not row.wants_scores
            if row.shares:
                continue  # another row is computing just this beginning: wait and share it
            while not self._start(row, blocks):
                if not self._put_back_a_paused_row():
                    self.blocked = "pages"
                    return
            budget -= max(1, row.prefill_left)
            starts_left -= 1
            in_progress |= self._promises(row)

    def _start(self, row: Sequence, blocks: int) -> bool:
        self._cache.adopt(row, blocks)
        reserve = len(self.running)  # one page for each running row, or it would be put back at once
        if self._cache.available - self._cache.missing(row, len(row.tokens)) < reserve or not self._cache.reserve(
            row, len(row.tokens), windows=False
        ):
            self._cache.release(row)
            return False
        if not row.made:
            row.cached_tokens = min(row.computed, len(row.prompt.token_ids))
        self.waiting.remove(row)
        insort(self.running, row, key=_order)
        return True

    def _put_back_a_paused_row(self) -> bool:
        """A slow reader may keep its place and its pages only while nobody else needs them."""
        paused = next((row for row in reversed(self.running) if row.paused), None)
        if paused is not None:
            self._preempt(paused)
        return paused is not None

    def _schedule_prefill(self, plan: Plan, budget: int) -> None:
        """Divide the budget: a fair chunk for each prompt in order, what is left over to the first."""
        fair = min(MIN_CHUNK, max(1, budget // 2))
        rows = [row for row in self.running if row.prefill_left > 0 and not row.paused]
        grants: list[int] = []
        for row in rows:
            grants.append(min(_most(row), fair, budget))
            budget -= grants[-1]
        for row, grant in zip(rows, grants, strict=True):
            extra = min(_most(row) - grant, budget)
            budget -= extra
            tokens = self._around_pictures(row, self._align(row, grant + extra))
            alone = not plan.decode and not plan.prefill
            if (
                tokens
                and (alone or self._is_worth_a_pass(row, tokens))
                and row in self.running
                and self._make_room(row, row.computed + tokens)
            ):
                plan.prefill.append((row, tokens))

    def _is_worth_a_pass(self, row: Sequence, tokens: int) -> bool:
        """The end of a prompt always is; else wait for at least a page of budget."""
        return tokens == row.prefill_left or tokens >= self._cache.page_tokens

    def _align(self, row: Sequence, tokens: int) -> int:
        """End chunks at block borders; for recurrent models also at the last border of the prompt, to take a snapshot there."""
        size, end = self._cache.page_tokens, row.computed + tokens
        if end < len(row.tokens) - 1:
            aligned = end // size * size
            return aligned - row.computed if aligned > row.computed else tokens
        border = (len(row.tokens) - 1) // size * size
        if self._cache.recurrent and row.computed < border < end:
            return border - row.computed
        return tokens

    def _around_pictures(self, row: Sequence, tokens: int) -> int:
        """As many of `tokens` as can be computed now: none behind a picture without features."""
        if row.pictures is None or not tokens:
            return tokens
        return row.pictures.end_of_chunk(row.computed, row.computed + tokens, self._cache.page_tokens) - row.computed

    def _make_room(self, row: Sequence, tokens: int) -> bool:
        """Pages for `tokens` tokens of `row`, putting back rows behind it if it must; False if `row` was put back itself."""
        while not self._cache.reserve(row, tokens, windows=True):
            if self._put_back_a_paused_row():
                continue
            victim = self.running[-1]
            self._preempt(victim)
            if victim is row:
                return False
        return True

    def _preempt(self, row: Sequence) -> None:
        self.running.remove(row)
        self._cache.release(row)
        insort(self.waiting, row, key=_order)
        self.preemptions += 1

    def _blocks_in_progress(self) -> set[bytes]:
        return {block for row in self.running if row.prefill_left > 0 for block in self._promises(row)}

    def _promises(self, row: Sequence) -> set[bytes]:
        """Blocks that others may take over once this row has computed them; of recurrent layers the state at the last border alone."""
        if not self._cache.share:
            return set()
        blocks = row.block_hashes[row.indexed_blocks : (len(row.tokens) - 1) // self._cache.page_tokens]
        return set(blocks[-1:] if self._cache.recurrent else blocks)

    def _next_shared(self, row: Sequence, blocks: int) -> bytes | None:
        """The block that a row with `blocks` blocks out of the cache would wait for."""
        end = (len(row.tokens) - 1) // self._cache.page_tokens
        wanted = row.block_hashes[blocks:end]
        return (wanted[-1] if self._cache.recurrent else wanted[0]) if wanted else None


def _order(row: Sequence) -> tuple[int, int]:
    return row.order


def _most(row: Sequence) -> int:
    """Tokens of its prompt that one step may compute."""
    return min(row.prefill_left, row.chunk_limit) if row.wants_scores and row.chunk_limit else row.prefill_left
