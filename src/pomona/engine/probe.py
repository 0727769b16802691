"""Does this model give the same answer in a batch as alone, and compiled as not? Asked once, with two short rows, when an engine is built.

Some of mlx-lm's definitions cannot take rows at different positions. Rather than trust a list of names, try it; a model that
fails still serves, one row per pass, or built anew for each.
"""

import mlx.core as mx

from pomona.core.generation import Prompt, SamplingParams
from pomona.core.settings import EngineSettings
from pomona.engine.cache.model_cache import ModelCache
from pomona.engine.passes.runner import Runner
from pomona.engine.sequence import Sequence

PROMPTS = ((1, 2, 3, 4, 5), (5, 4, 3, 2, 1, 0, 1, 2, 3, 4, 5))
TOLERANCE = 0.05
"""Of the largest logit: far above bfloat16 rounding, far below a wrong position or mask."""


def prepare(runner: Runner, cache: ModelCache, settings: EngineSettings) -> list[str]:
    """Let `runner` do what is asked for and this model can; the warnings to show."""
    warnings = prove_batching(runner, cache)
    runner.ahead = settings.launch_ahead == "on" or (settings.launch_ahead == "auto" and cache.in_place)
    if settings.compile == "on" or (settings.compile == "auto" and mx.default_device() != mx.cpu):
        warnings += _prove_compiling(runner, cache)
    return warnings


def prove_batching(runner: Runner, cache: ModelCache) -> list[str]:
    """Turn batching off in `runner` unless it is proven; the warnings to show."""
    if not runner.batches:
        return ["This model keeps a kind of cache that cannot be shared: its requests run one after another in each step."]
    try:
        together, alone = _logits(runner, cache, together=True), _logits(runner, cache, together=False)
    except (ValueError, TypeError, RuntimeError, IndexError, AttributeError) as error:
        runner.batches = False
        return [f"This model cannot step rows at different positions together ({error}): its requests run one after another in each step."]
    if _is_close(together, alone):
        return []
    runner.batches = False
    return ["This model gives other answers in a batch than alone: its requests run one after another in each step."]


def _prove_compiling(runner: Runner, cache: ModelCache) -> list[str]:
    """Compile decode passes in `runner` if that is proven."""
    if not cache.traceable:
        return []
    plain = _logits(runner, cache, together=runner.batches)
    runner.compile()
    try:
        same = _is_close(_logits(runner, cache, together=runner.batches), plain)
        trouble = "" if same else "it gives other answers then"
    except (ValueError, TypeError, RuntimeError, IndexError, AttributeError) as error:
        trouble = str(error)
    if not trouble:
        return []
    runner.compiled = None
    return [f"This model's decode passes cannot be compiled ({trouble}): each is built anew."]


def _is_close(one: mx.array, other: mx.array) -> bool:
    return float(mx.abs(one - other).max()) <= TOLERANCE * float(mx.abs(other).max())


def _logits(runner: Runner, cache: ModelCache, *, together: bool) -> mx.array:
    """(2, vocabulary): after prefill and one more token, in one batch or each row alone."""
    rows = [_row(prompt) for prompt in PROMPTS]
    try:
        for row in rows:
            cache.adopt(row, 0)
            cache.reserve(row, len(row.tokens), windows=True)
        chunks = [(row, row.prefill_left) for row in rows]
        for group in runner.prefill_groups(chunks) if together else [[chunk] for chunk in chunks]:
            runner.start(runner.prefill(group))
        results = [runner.logits(group) for group in ([rows] if together else [[row] for row in rows])]
        return mx.concatenate(results).astype(mx.float32)
    finally:
        for row in rows:
            cache.release(row)


def _row(token_ids: tuple[int, ...]) -> Sequence:
    prompt = Prompt(id="probe", token_ids=token_ids, sampling=SamplingParams(temperature=0), max_tokens=1)
    return Sequence(prompt=prompt, seed=0, arrival=0, tokens=list(token_ids))
