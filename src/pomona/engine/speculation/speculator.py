"""Which rows guess how many tokens in the next pass.

Each step: `hopeful` asks, from what is known, whether guesses may pay; then the tokens in flight are read, and `guess` puts guesses on
rows. Lookup sees for free whether it would have been right, so its chances are known without using it. Where nothing has paid for a
while, rows are looked at less and less often, and now and then what was measured is forgotten, so that it is tried again.
"""

import time
from collections.abc import Callable
from collections.abc import Sequence as ReadOnlySequence

from pomona.core.settings import EngineSettings
from pomona.engine.cache.memory import step_tokens
from pomona.engine.sequence import Sequence
from pomona.engine.speculation.costs import Costs, choose
from pomona.engine.speculation.draft_model import DraftModel
from pomona.engine.speculation.odds import DRAFT, SharedOdds
from pomona.engine.speculation.sources import Offer, RowSources

LONGEST_REST = 16
"""Steps in which nobody looks, after guesses did not pay again and again."""
FORGET_AFTER = 64
"""Looks in a row that found nothing worth while: then costs are measured anew."""

Offers = dict[Sequence, Offer]


class Speculator:
    """One engine's. In mode `auto` it weighs chances against costs, timed by `clock`; `lookup` and `draft` guess whenever they can."""

    def __init__(
        self,
        settings: EngineSettings,
        *,
        draft: DraftModel | None = None,
        costs: Costs | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.mode = settings.speculation
        self._most = settings.speculation_tokens
        self._line_budget = step_tokens(settings)
        self.draft = draft if self.mode in {"auto", "draft"} else None
        self._costs = costs or Costs()
        self._clock = clock
        self._shared = SharedOdds()
        self._rows: dict[Sequence, RowSources] = {}
        self._guessing: list[Sequence] = []
        self._ended_at: float | None = None
        self._rest = self._looks = 0
        self.drafted_tokens = self.accepted_tokens = 0

    @property
    def kv_bytes(self) -> int:
        """Bytes of the draft model's pages."""
        return self.draft.nbytes if self.draft else 0

    def turn_off(self) -> None:
        """This model cannot take guesses."""
        self.mode, self.draft = "off", None

    def hopeful(self, rows: ReadOnlySequence[Sequence]) -> bool:
        """Whether `rows`, which decode next, may have guesses worth checking. Some of their tokens may be unread."""
        for row in self._guessing:
            row.guesses = []
        self._guessing = []
        if self.mode == "off" or not rows:
            return False
        if self._rest:
            self._rest -= 1
            return False
        offers = self._offers(rows)
        hopeful = any(self._choose(len(rows), offers)[0].values())
        self._note_look(hopeful, bool(offers))
        return hopeful

    def guess(self, rows: ReadOnlySequence[Sequence]) -> None:
        """Put guesses on `rows`, all of whose tokens are known."""
        offers = self._offers(rows)
        if self.draft is not None:
            asked = [row for row, offer in offers.items() if offer.kind == DRAFT]
            ready = set(self.draft.ready(asked))
            offers = {row: offer for row, offer in offers.items() if offer.kind != DRAFT or row in ready}
        counts, depth = self._choose(len(rows), offers)
        for row, offer in offers.items():
            row.guesses = offer.tokens[: counts[row]]
        self._draft([row for row, offer in offers.items() if offer.kind == DRAFT and counts[row]], counts, depth)
        self._guessing = [row for row in offers if row.guesses]

    def ended(self, *, rows: int, lines: int, waited: bool) -> None:
        """A pass has just ended, of `lines` lines for `rows` rows (0 where it only read prompts). It `waited` if it was built after
        the tokens of the pass before it had been read.
        """
        now = self._clock()
        if rows and self._ended_at is not None and self.mode == "auto":
            (self._costs.waited if waited else self._costs.ahead).learn(lines, now - self._ended_at)
        self._ended_at = now

    def idle(self) -> None:
        """Nothing runs any more: the time until the next pass ends says nothing of it."""
        self._ended_at = None

    def count(self, drafted: int, accepted: int) -> None:
        """Some guesses were checked."""
        self.drafted_tokens += drafted
        self.accepted_tokens += accepted

    def forget(self, row: Sequence) -> None:
        """The row has ended."""
        self._rows.pop(row, None)
        if self.draft is not None:
            self.draft.forget(row)

    def _offers(self, rows: ReadOnlySequence[Sequence]) -> Offers:
        """The likelier source of each row that has one."""
        offers: Offers = {}
        for row in rows:
            sources = self._rows.get(row)
            if sources is None:
                sources = self._rows[row] = RowSources.of(row, self._shared)
            drafted = sources.draft(self._most) if self._may_draft(row) else None
            found = None if drafted and self.mode == "draft" else sources.look_up(self._most)
            best = max((offer for offer in (drafted, found) if offer), key=lambda offer: offer.chances[0], default=None)
            if best is not None and (self.mode != "draft" or self.draft):
                offers[row] = best
        return offers

    def _may_draft(self, row: Sequence) -> bool:
        """A draft model knows nothing of adapters and pictures. The first token should not wait for it."""
        return self.draft is not None and row.prompt.adapter is None and not row.prompt.pictures and row.outputs + row.pending > 0

    def _choose(self, rows: int, offers: Offers) -> tuple[dict[Sequence, int], int]:
        """How many guesses each row gets, and how often the draft model is to be asked for that."""
        if self.mode != "auto":
            counts = _cut({row: len(offer.chances) for row, offer in offers.items()}, self._line_budget - rows)
        else:
            counts = self._weigh(rows, offers)
        return counts, max((counts[row] for row, offer in offers.items() if offer.kind == DRAFT), default=0)

    def _weigh(self, rows: int, offers: Offers) -> dict[Sequence, int]:
        """By cost, for each depth of drafting the best choice."""
        drafting = sum(offer.kind == DRAFT for offer in offers.values())
        best, best_gain = dict.fromkeys(offers, 0), 1.0
        for depth in range(self._most + 1 if drafting else 1):
            chances = [offer.chances[:depth] if offer.kind == DRAFT else offer.chances for offer in offers.values()]
            extra = depth * self._costs.drafting(drafting) if depth else 0.0
            counts, gain = choose(self._costs, rows, chances, extra_seconds=extra)
            if gain > best_gain:
                best, best_gain = dict(zip(offers, counts, strict=True)), gain
        return _cut(best, self._line_budget - rows)

    def _draft(self, rows: list[Sequence], counts: dict[Sequence, int], depth: int) -> None:
        if self.draft is None or not rows:
            return
        started = self._clock()
        for row, tokens in zip(rows, self.draft.guess(rows, depth), strict=True):
            row.guesses = tokens[: counts[row]]
            self._rows[row].drafted(row.guesses)
        self._costs.draft.learn(len(rows), (self._clock() - started) / depth)

    def _note_look(self, hopeful: bool, offered: bool) -> None:
        if hopeful or self.mode != "auto":
            self._looks = 0
            return
        self._looks += 1
        self._rest = min(LONGEST_REST, self._looks // 2)
        if offered and self._looks % FORGET_AFTER == 0:
            self._costs.waited.forget()


def _cut(counts: dict[Sequence, int], lines: int) -> dict[Sequence, int]:
    """As much of `counts` as fits into so many lines, the first rows first."""
    cut: dict[Sequence, int] = {}
    for row, count in counts.items():
        cut[row] = max(0, min(count, lines))
        lines -= cut[row]
    return cut
