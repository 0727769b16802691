"""Sampled tokens come with the model's own probabilities, guesses or not: chi-square tests against the exact distribution."""

from itertools import product
from typing import Any, cast

import mlx.core as mx
import numpy as np
import pytest

from pomona.core.settings import EngineSettings
from pomona.engine.engine import Engine
from pomona.engine.speculation.draft_model import plan_draft
from pomona.engine.speculation.speculator import Speculator
from tests.engine.harness import drive, loaded_family, make_prompt
from tests.families import CONFIGS, Family, build

VOCABULARY, TOKENS, ROWS = 5, 3, 1500
PROMPT = [0, 1, 2, 0, 1, 2, 0, 1]
TINY = {**CONFIGS["llama"], "vocab_size": VOCABULARY}


def critical(degrees: int) -> float:
    """What chi-square exceeds once in 1000 times (Wilson and Hilferty 1931). The seeds are fixed, so no run fails by chance."""
    return degrees * (1 - 2 / (9 * degrees) + 3.09 * (2 / (9 * degrees)) ** 0.5) ** 3


def exact(model: Family, temperature: float) -> np.ndarray:
    """(5, 5, 5): the probability of each three tokens behind the prompt."""
    chances = np.ones((VOCABULARY,) * TOKENS)
    for tokens in product(range(VOCABULARY), repeat=TOKENS):
        logits = cast("mx.array", cast("Any", model.module)(mx.array([[*PROMPT, *tokens[:-1]]])))[0, -TOKENS:]
        steps = cast("Any", np.array(mx.softmax(logits / temperature, axis=-1)))
        chances[tokens] = np.prod([steps[place, token] for place, token in enumerate(tokens)])
    return chances


def engine_for(model: Family, draft: Family | None) -> Engine:
    loaded = loaded_family(model)
    asked = EngineSettings(page_tokens=8, kv_cache_bytes=2**24, speculation="draft" if draft else "lookup", speculation_tokens=2)
    if draft is None:
        return Engine(model.module, asked, vocabulary=VOCABULARY, max_context=model.max_context)
    left, drafting = plan_draft(loaded, loaded_family(draft), asked)
    engine = Engine(model.module, left, vocabulary=VOCABULARY, max_context=model.max_context)
    engine.speculate(Speculator(left, draft=drafting))
    return engine


@pytest.mark.parametrize("drafted", [False, True])
@pytest.mark.parametrize("temperature", [0.6, 1.4])
def test_the_distribution_is_the_models(drafted: bool, temperature: float) -> None:
    model, other = build("llama", TINY), build("llama", TINY, seed=1)
    engine = engine_for(model, other if drafted else None)
    rows = [make_prompt(str(seed), PROMPT, max_tokens=TOKENS, temperature=temperature, seed=seed) for seed in range(ROWS)]
    counts = np.zeros((VOCABULARY,) * TOKENS)
    for start in range(0, ROWS, 500):
        for result in drive(engine, {0: rows[start : start + 500]}).values():
            counts[tuple(result.tokens)] += 1
    stats = engine.stats()
    assert 0 < stats.accepted_tokens < stats.drafted_tokens
    expected = exact(model, temperature) * ROWS
    common = expected >= 5  # cells with few expected are put together, as the test demands
    seen = np.append(counts[common], counts[~common].sum())
    wanted = np.append(expected[common], max(expected[~common].sum(), 1e-9))
    assert expected.sum() == pytest.approx(ROWS, rel=1e-4)
    assert ((seen - wanted) ** 2 / wanted).sum() < critical(int(common.sum()))
