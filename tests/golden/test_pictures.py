"""Prompts with pictures: the engine computes what transformers computes, at every position, in float32."""

from collections.abc import Mapping

import mlx.core as mx
import pytest

from pomona.core.generation import SamplingParams, TokenLogprobs
from pomona.core.settings import EngineSettings
from pomona.engine.process.building import build_engine
from pomona.models.device import use_device
from pomona.models.loading import load
from pomona.models.references import ResolvedModel
from tests.golden.cases import TOLERANCE
from tests.golden.picture_cases import PICTURE_NAMES, VOCABULARY, PictureGolden, read_picture_golden

SETTINGS = EngineSettings(step_token_budget=16, page_tokens=8, kv_cache_bytes=2**24)
"""Small steps and pages: prompts are prefilled in several chunks, whose borders fall into pictures."""


@pytest.mark.parametrize("name", PICTURE_NAMES)
def test_every_position_has_the_logprobs_of_transformers(name: str) -> None:
    golden = read_picture_golden(name)
    ids, scores = _run(golden, scored=VOCABULARY)
    for index, prompt in enumerate(golden.prompts):
        expected = prompt.logits - mx.logsumexp(prompt.logits, axis=-1, keepdims=True)
        found = mx.array([[logprob for _, logprob in sorted(each.top)] for each in scores[f"{index}"]])
        assert found.shape == expected.shape
        assert float(mx.abs(found - expected).max()) < TOLERANCE, f"{name}: prompt {index}"
        assert ids[f"{index}"] == list(prompt.greedy)


def _run(golden: PictureGolden, *, scored: int | None) -> tuple[Mapping[str, list[int]], Mapping[str, list[TokenLogprobs]]]:
    """All prompts in one engine: per prompt the greedy ids, and the log-probabilities behind each of its tokens."""
    found = ResolvedModel(id=golden.name, path=golden.folder, kind="folder", reference=str(golden.folder))
    engine = build_engine(load(found, use_device("cpu")), SETTINGS)
    sampling = SamplingParams(temperature=0.0, logprobs=scored)
    for index, prompt in enumerate(golden.prompts):
        engine.add(prompt.prompt(f"{index}", sampling, scored=scored))
    ids: dict[str, list[int]] = {}
    scores: dict[str, list[TokenLogprobs]] = {}
    while engine.has_work:
        for row, step in engine.step():
            assert step.failure is None
            if not ids.get(row):
                scores.setdefault(row, []).extend([*step.prompt_logprobs, *step.logprobs])
            ids.setdefault(row, []).extend(step.token_ids)
    engine.check_integrity()
    engine.close()
    return ids, scores
