"""The engine computes what transformers computes: prompts prefilled in chunks into pages, side by side, then decoded."""

from collections.abc import Mapping
from typing import Any, cast

import mlx.core as mx
import pytest

from pomona.core.generation import Prompt, SamplingParams, TokenLogprobs
from pomona.core.settings import EngineSettings
from pomona.engine.engine import Engine
from tests.golden.cases import GREEDY_TOKENS, NAMES, TOLERANCE, Golden, load_forward, read_golden

SETTINGS = EngineSettings(step_token_budget=16, page_tokens=8, kv_cache_bytes=2**26)
"""Small steps and pages: the longest prompt is prefilled in five chunks or more, and fills eight pages."""
ALTERNATIVES = 20


@pytest.mark.parametrize("name", NAMES)
def test_engine_gives_the_logprobs_and_greedy_ids_of_transformers(name: str) -> None:
    golden = read_golden(name)
    ids, firsts = _run(golden)
    assert ids[f"{len(golden.prompts) - 1}"] == list(golden.greedy)
    for index, expected in enumerate(golden.logits):
        _assert_close(firsts[f"{index}"], expected[-1], f"{name}: prompt {index}")


def _run(golden: Golden) -> tuple[Mapping[str, list[int]], Mapping[str, TokenLogprobs]]:
    """All prompts in one engine: per prompt the greedy ids, and the log-probabilities at the first of them."""
    module = cast("Any", load_forward(golden.model_folder))
    engine = Engine(module, SETTINGS, vocabulary=golden.logits[0].shape[-1], max_context=512)
    sampling = SamplingParams(temperature=0.0, logprobs=ALTERNATIVES)
    for index, prompt in enumerate(golden.prompts):
        engine.add(Prompt(id=f"{index}", token_ids=prompt, sampling=sampling, max_tokens=GREEDY_TOKENS))
    ids: dict[str, list[int]] = {}
    firsts: dict[str, TokenLogprobs] = {}
    while engine.has_work:
        for row, step in engine.step():
            ids.setdefault(row, []).extend(step.token_ids)
            for logprobs in step.logprobs:
                firsts.setdefault(row, logprobs)
    engine.check_integrity()
    engine.close()
    return ids, firsts


def _assert_close(found: TokenLogprobs, logits: mx.array, what: str) -> None:
    expected = logits - mx.logsumexp(logits)
    best = mx.sort(expected)[::-1][:ALTERNATIVES]
    assert len(found.top) == ALTERNATIVES
    assert found.logprob == pytest.approx(float(best[0]), abs=TOLERANCE), what
    for rank, (token, logprob) in enumerate(found.top):
        assert logprob == pytest.approx(float(expected[token]), abs=TOLERANCE), f"{what}: token {token}"
        assert logprob == pytest.approx(float(best[rank]), abs=TOLERANCE), f"{what}: rank {rank}"
