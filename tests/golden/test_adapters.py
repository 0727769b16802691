"""Rows with PEFT's adapters give the log-probabilities that PEFT itself gives: recorded ones, in a batch of all adapters of a model."""

from typing import cast

import mlx.core as mx
import mlx.nn as nn
import pytest

from pomona.core.generation import Prompt, SamplingParams, TokenStep
from pomona.core.settings import EngineSettings
from pomona.engine.engine import Engine
from tests.golden.adapters import CASES, PROMPT, folder_of
from tests.golden.cases import GOLDEN, load_forward

SETTINGS = EngineSettings(step_token_budget=16, page_tokens=8, kv_cache_bytes=2**26)
TOLERANCE = 2e-4
"""Of log-probabilities, which differ by the errors of two logits."""


@pytest.mark.parametrize("name", CASES)
def test_log_probabilities_are_those_of_peft(name: str) -> None:
    case, path = CASES[name], str(folder_of(name) / "logits.safetensors")
    logits = cast("dict[str, mx.array]", mx.load(path))["logits"]
    engine = Engine(cast("nn.Module", load_forward(GOLDEN / case.model)), SETTINGS, vocabulary=logits.shape[-1], max_context=512)
    first = {id: made[0] for id, made in answer(engine, name).items()}
    expected = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    got = [score.logprob for score in first[name].prompt_logprobs]
    assert got == pytest.approx([float(expected[i, token]) for i, token in enumerate(PROMPT[1:])], abs=TOLERANCE)
    (last,) = first[name].logprobs
    assert [p for _, p in last.top] == pytest.approx(cast("list[float]", mx.sort(expected[-1])[::-1][:5].tolist()), abs=TOLERANCE)
    assert [token for token, _ in last.top] == mx.argsort(-expected[-1])[:5].tolist()


def answer(engine: Engine, name: str) -> dict[str, list[TokenStep]]:
    """One token of every adapter for the same model, and of the model alone, in one batch: the steps that carry something."""
    sampling = SamplingParams(temperature=0.0, logprobs=5)
    others = [other for other, case in CASES.items() if case.model == CASES[name].model]
    for other in [*others, "plain"]:
        adapter = None if other == "plain" else str(folder_of(other))
        engine.add(Prompt(id=other, token_ids=PROMPT, sampling=sampling, max_tokens=1, prompt_logprobs=0, adapter=adapter))
    made: dict[str, list[TokenStep]] = {}
    while engine.has_work:
        for id, step in engine.step():
            assert step.failure is None
            if step != TokenStep():  # which says that the adapter is there
                made.setdefault(id, []).append(step)
    engine.check_integrity()
    return made
