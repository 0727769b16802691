"""Our models compute what transformers computes: logits within 1e-4, in float32, of those recorded in `tests/data/golden`."""

import mlx.core as mx
import pytest

from tests.golden.cases import NAMES, TOLERANCE, load_forward, read_golden


@pytest.mark.parametrize("name", NAMES)
def test_logits_equal_those_of_transformers(name: str) -> None:
    golden = read_golden(name)
    forward = load_forward(golden.model_folder)
    for ids, expected in zip(golden.prompts, golden.logits, strict=True):
        found = forward(mx.array([ids]))[0, -expected.shape[0] :]
        assert found.dtype == mx.float32
        assert float(mx.abs(found - expected).max()) < TOLERANCE, f"{name}: prompt of {len(ids)} tokens"


@pytest.mark.parametrize("name", NAMES)
def test_greedy_continuation_equals_that_of_transformers(name: str) -> None:
    golden = read_golden(name)
    ids = [*golden.prompts[-1], *golden.greedy]
    best = load_forward(golden.model_folder)(mx.array([ids]))[0].argmax(axis=-1)
    assert best[len(golden.prompts[-1]) - 1 : -1].tolist() == list(golden.greedy)
