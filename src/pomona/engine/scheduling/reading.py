"""Which prompts are read in a step, how much of each, and which rows wait for what another one reads."""

from pomona.engine.cache.model_cache import ModelCache
from pomona.engine.scheduling.costs import PassCosts
from pomona.engine.scheduling.places import Places
from pomona.engine.scheduling.shares import Shares
from pomona.engine.scheduling.sizes import SMALLEST, even_end
from pomona.engine.scheduling.targets import RANK
from pomona.engine.sequence import Sequence

FLOOR = 8
"""Tokens of the first chunk of a step, whatever they cost: prompts get on in every step."""
TURN_OF_OLDEST = 4
"""In every fourth step with prompts the one that started first goes first, so that each is read to its end."""
SHORT_CHUNK = 128
"""Prompt chunks up to this many tokens share a pass; longer ones fill the device alone and need no padding."""


class Reading:
    """The prompts of one engine's running rows. By class, then the caller that has had the least, then the shortest rest."""

    def __init__(self, cache: ModelCache, costs: PassCosts, places: Places, shares: Shares, *, fair: bool) -> None:
        self._cache = cache
        self._costs = costs
        self._places = places
        self._shares = shares
        self._fair = fair
        self._steps = 0

    def schedule(self, chunks: list[tuple[Sequence, int]], budget: int, seconds: float, *, beside: bool) -> None:
        """Fill `chunks` with up to `budget` tokens that take `seconds`; `beside` rows that decode."""
        budget, shares_pass = min(budget, self._costs.largest_chunk), False
        floor = SMALLEST if self._costs.few_sizes else FLOOR
        for row in self._in_turn():
            fit = self._costs.tokens_within(seconds, row.computed, shares_pass=shares_pass)
            tokens = min(_most(row), budget, fit if chunks else max(floor, fit))
            if self._costs.few_sizes and tokens < row.prefill_left <= SHORT_CHUNK:
                tokens = 0 if chunks else min(_most(row), budget)  # one pass more would cost as much as this one with all of it
            tokens = self._around_pictures(row, self._align(row, tokens))
            least = self._cache.page_tokens if chunks else min(FLOOR, self._cache.page_tokens) if beside else 1
            if not tokens or (tokens < min(least, budget, row.prefill_left)):
                continue
            if row not in self._places.running or not self._places.make_room(row, row.computed + tokens):
                continue
            chunks.append((row, tokens))
            self._charge(row, row.computed + tokens)
            budget -= tokens
            seconds -= self._costs.prefill_seconds(tokens, row.computed, shares_pass=shares_pass)
            shares_pass = tokens <= SHORT_CHUNK
            if budget <= 0 or seconds <= 0:
                break
        self._steps += bool(chunks)

    def goes_first(self, row: Sequence) -> bool:
        """A waiting row's prompt would be read before all that are in progress."""
        return self._fair and all(self._rank(row) < self._rank(other) for other in self._places.running if other.prefill_left > 0)

    def blocks_in_progress(self) -> set[bytes]:
        """Blocks that running rows will have computed."""
        return {block for row in self._places.running if row.prefill_left > 0 for block in self.promises(row)}

    def promises(self, row: Sequence) -> set[bytes]:
        """Blocks that others may take over once this row has computed them; of recurrent layers the state at the last border alone."""
        if not self._cache.share:
            return set()
        blocks = row.block_hashes[row.indexed_blocks : (len(row.tokens) - 1) // self._cache.page_tokens]
        return set(blocks[-1:] if self._cache.recurrent else blocks)

    def waits_for(self, row: Sequence, blocks: int, in_progress: set[bytes]) -> bool:
        """Another row is computing just what follows the first `blocks` blocks of this one: it had better wait and share that."""
        if row.turn.parked or row.wants_scores:
            return False
        end = (len(row.tokens) - 1) // self._cache.page_tokens
        wanted = row.block_hashes[blocks:end]
        return bool(wanted) and (wanted[-1] if self._cache.recurrent else wanted[0]) in in_progress

    def _in_turn(self) -> list[Sequence]:
        rows = [row for row in self._places.running if row.prefill_left > 0 and not row.paused]
        if not self._fair or len(rows) < 2:
            return rows
        rows.sort(key=self._rank)
        if self._steps % TURN_OF_OLDEST == TURN_OF_OLDEST - 1:
            oldest = min(rows, key=lambda row: row.turn.place)
            rows.remove(oldest)
            rows.insert(0, oldest)
        return rows

    def _rank(self, row: Sequence) -> tuple[int, float, int]:
        left = row.prefill_left if row.turn.place else len(row.tokens) - row.turn.charged_to
        return RANK[row.prompt.priority], self._shares.level(row.prompt.caller), left

    def _charge(self, row: Sequence, end: int) -> None:
        """What is computed again after a row was put back is not its caller's doing."""
        self._shares.charge(row.prompt.caller, max(0, end - row.turn.charged_to))
        row.turn.charged_to = max(row.turn.charged_to, end)

    def _align(self, row: Sequence, tokens: int) -> int:
        """End chunks where those of all prompts end, if they have few sizes; else at block borders where that costs less than a quarter of
        them; for recurrent models in any case at the last border of the prompt, to take a snapshot there.
        """
        size, end = self._cache.page_tokens, row.computed + tokens
        if end < len(row.tokens) - 1 and self._costs.few_sizes:
            return even_end(row.computed, tokens) - row.computed
        if end < len(row.tokens) - 1:
            aligned = end // size * size
            return aligned - row.computed if 4 * (aligned - row.computed) >= 3 * tokens else tokens
        border = (len(row.tokens) - 1) // size * size
        if self._cache.recurrent and row.computed < border < end:
            return border - row.computed
        return tokens

    def _around_pictures(self, row: Sequence, tokens: int) -> int:
        """As many of `tokens` as can be computed now: none behind a picture without features."""
        if row.pictures is None or not tokens:
            return tokens
        return row.pictures.end_of_chunk(row.computed, row.computed + tokens, self._cache.page_tokens) - row.computed


def _most(row: Sequence) -> int:
    """Tokens of its prompt that one step may compute."""
    return min(row.prefill_left, row.chunk_limit) if row.wants_scores and row.chunk_limit else row.prefill_left
