"""Models against transformers as it runs here: fresh random weights, all positions, and the goldens once more.

Run with `-m torch` in an environment that also has torch and transformers; `tests/golden/record.py` says how to make one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.families import VOCABULARY
from tests.golden.cases import NAMES, RANDOM, TOLERANCE, load_forward, read_golden
from tests.golden.reference import load_reference, random_reference

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

PROMPT_TOKENS = (1, 2, 17, 80)
SEEDS = (1, 2, 3)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", RANDOM)
def test_fresh_weights_give_the_logits_of_transformers(name: str, seed: int, tmp_path: Path) -> None:
    reference = random_reference(RANDOM[name], seed=seed)
    reference.save(tmp_path, RANDOM[name])
    source = np.random.default_rng(seed)
    for count in PROMPT_TOKENS:
        ids: list[int] = source.integers(0, VOCABULARY, count).tolist()
        # Random gated networks can amplify rounding: the reference's own is the yardstick then.
        tolerance = max(TOLERANCE, 5 * reference.noise(ids))
        assert _difference(_logits(tmp_path, ids), reference.logits(ids)) < tolerance, f"{name}: seed {seed}, {count} tokens"


@pytest.mark.parametrize("name", NAMES)
def test_goldens_are_what_transformers_gives(name: str) -> None:
    golden = read_golden(name)
    reference = load_reference(golden.model_folder)
    for ids, expected in zip(golden.prompts, golden.logits, strict=True):
        assert _difference(expected, reference.logits(ids)[-expected.shape[0] :]) < TOLERANCE


def _logits(folder: Path, ids: Sequence[int]) -> mx.array:
    return load_forward(folder)(mx.array([list(ids)]))[0]


def _difference(ours: mx.array, theirs: Any) -> float:
    return float(np.abs(np.array(ours) - theirs.numpy()).max())
