"""A small model that guesses for a large one: its own pages, its own passes for all rows together.

Each row of the engine has a shadow here, which knows the same tokens and draws with the same random numbers: the number that decides
on a row's n-th token is the same in both models, so they agree more often than two draws of their own would. What was guessed wrongly
is taken back when the row's next guesses are asked for.
"""

from collections.abc import Sequence as ReadOnlySequence
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING, cast

from pomona.core.errors import ConfigurationError
from pomona.core.generation import Prompt, SamplingParams
from pomona.core.settings import EngineSettings
from pomona.engine.cache.memory import kv_budget, step_tokens
from pomona.engine.cache.model_cache import ModelCache
from pomona.engine.passes.runner import Runner
from pomona.engine.passes.work import Pass
from pomona.engine.probe import prepare
from pomona.engine.sequence import Sequence

if TYPE_CHECKING:
    from pomona.models.loading import LoadedModel


class DraftModel:
    """Guesses for rows of a model with `vocabulary` tokens. Raises ConfigurationError for a model whose state cannot be taken back."""

    def __init__(self, loaded: "LoadedModel", settings: EngineSettings, *, budget_bytes: int, vocabulary: int) -> None:
        self.weight_bytes = loaded.weight_bytes
        self.budget_bytes = budget_bytes
        self._vocabulary = vocabulary
        self._own_vocabulary = loaded.vocabulary
        self._context = loaded.max_context
        self._tokens_at_once = step_tokens(settings)
        self._most = settings.speculation_tokens
        self._cache = ModelCache(loaded.module, settings, budget_bytes)
        if not self._cache.rolls_back:
            raise ConfigurationError(
                f"{loaded.id!r} keeps a state that cannot be taken back, so it cannot draft. Choose another draft model."
            )
        self._runner = Runner(loaded.module, self._cache, loaded.vocabulary)
        self.warnings = [f"Draft model: {warning}" for warning in prepare(self._runner, self._cache, settings)]
        self._shadows: dict[Sequence, Sequence] = {}
        self._guessed_at: dict[Sequence, int] = {}
        """Known tokens of a row when it was last guessed for."""

    @property
    def nbytes(self) -> int:
        """Bytes of its pages, allocated now."""
        return self._cache.nbytes

    def ready(self, rows: ReadOnlySequence[Sequence]) -> list[Sequence]:
        """Read the known tokens of `rows`, at most a step's budget of them in all; those rows that have been read to the end."""
        known = [row for row in rows if self._knows(row) and self._settle(row, rows)]
        left, chunks = self._tokens_at_once, list[tuple[Sequence, int]]()
        for row in known:
            shadow = self._shadows[row]
            tokens = min(left, shadow.prefill_left)
            left -= tokens
            chunks += [(shadow, tokens)] if tokens else []
        for group in self._runner.prefill_groups(chunks):
            self._runner.start(self._runner.prefill(group))
            for shadow, _ in group:
                self._cache.commit(shadow)
        return [row for row in known if not self._shadows[row].prefill_left]

    def guess(self, rows: ReadOnlySequence[Sequence], count: int) -> list[list[int]]:
        """At most `count` tokens for each of `rows`, which are ready: fewer where a token follows that the large model does not have."""
        shadows = [self._shadows[row] for row in rows]
        self._guessed_at.update((row, len(row.tokens)) for row in rows)
        passes = [self._decode(group) for _ in range(count) for group in self._runner.decode_groups(shadows)]
        for work in passes:
            for shadow, token in zip(work.rows, _read(work), strict=True):
                shadow.guesses.append(token)
        for shadow in shadows:
            shadow.pending, shadow.pending_token = 0, None
        return [list(takewhile(lambda token: token < self._vocabulary, shadow.guesses)) for shadow in shadows]

    def forget(self, row: Sequence) -> None:
        """The row has ended: give its pages back."""
        shadow = self._shadows.pop(row, None)
        self._guessed_at.pop(row, None)
        if shadow is not None:
            self._cache.release(shadow)

    def check_integrity(self) -> None:
        """Raise AssertionError if pages leaked."""
        self._cache.check_integrity(self._shadows.values())

    def _knows(self, row: Sequence) -> bool:
        """It has an embedding for every token that it would have to read, and room for more."""
        if len(row.tokens) + self._most > self._context:
            return False
        if self._own_vocabulary >= self._vocabulary:
            return True
        computed = self._shadows[row].computed if row in self._shadows else 0
        return all(token < self._own_vocabulary for token in row.tokens[computed:])

    def _settle(self, row: Sequence, wanted: ReadOnlySequence[Sequence]) -> bool:
        """Take back what was guessed wrongly and make room for further guesses; False if there is none."""
        shadow = self._shadows.get(row) or self._open(row)
        right = 0
        for guess, token in zip(shadow.guesses, row.tokens[self._guessed_at.get(row, 0) :], strict=False):
            if guess != token:
                break
            right += 1
        valid = self._guessed_at[row] + right if shadow.guesses else shadow.computed
        self._cache.roll_back(shadow, shadow.computed - min(shadow.computed, valid, len(row.tokens) - 1))
        shadow.guesses = []
        self._cache.commit(shadow)
        size = len(row.tokens) + self._most
        return self._cache.reserve(shadow, size, windows=True) or (
            self._drop_others(wanted) and self._cache.reserve(shadow, size, windows=True)
        )

    def _open(self, row: Sequence) -> Sequence:
        shadow = Sequence(prompt=_without_penalties(row.prompt), seed=row.seed, arrival=row.arrival, tokens=row.tokens)
        self._cache.adopt(shadow, self._cache.match(shadow))
        self._shadows[row] = shadow
        return shadow

    def _drop_others(self, wanted: ReadOnlySequence[Sequence]) -> bool:
        """Rows that do not decode now, such as paused ones, give their pages up; whether there were any."""
        idle = [row for row in self._shadows if row not in wanted]
        for row in idle:
            self.forget(row)
        return bool(idle)

    def _decode(self, shadows: list[Sequence]) -> Pass:
        work = self._runner.decode(shadows)
        self._runner.start(work)
        return work


def plan_draft(loaded: "LoadedModel", draft: "LoadedModel", settings: EngineSettings) -> tuple[EngineSettings, DraftModel]:
    """The KV budget divided so that both models can hold equally many tokens: what is left for the large one, and the small one."""
    budget = kv_budget(settings)
    large, small = (ModelCache(each.module, settings, budget).page_bytes for each in (loaded, draft))
    for_draft = budget * small // max(1, large + small)
    drafting = DraftModel(draft, settings, budget_bytes=for_draft, vocabulary=loaded.vocabulary)
    return settings.model_copy(update={"kv_cache_bytes": budget - for_draft}), drafting


def _read(work: Pass) -> list[int]:
    return [] if work.sampled is None else cast("list[int]", work.sampled.tokens.tolist())


def _without_penalties(prompt: Prompt) -> Prompt:
    """Penalties, biases and log-probabilities cost more than guesses gain by them."""
    told = prompt.sampling
    sampling = SamplingParams(temperature=told.temperature, top_k=told.top_k, top_p=told.top_p, min_p=told.min_p)
    return replace(prompt, sampling=sampling, grammar=None, reasoning_limit=None, prompt_logprobs=None)
