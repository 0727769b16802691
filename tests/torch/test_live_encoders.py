"""Encoders against transformers as it runs here, with fresh weights. Run with `-m torch`; see `tests/golden/record_encoders.py`."""

from pathlib import Path

import numpy as np
import pytest

from pomona.models.encoders.batch import Batch, TextIds
from tests.golden.encoder_cases import CONFIGS, NAMES, SECOND, TOLERANCE, VOCABULARY, load_case, task_of_case
from tests.golden.encoder_reference import random_encoder

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_fresh_weights_give_what_transformers_gives(name: str, seed: int, tmp_path: Path) -> None:
    reference = random_encoder(CONFIGS[name], seed=seed)
    folder = tmp_path / name
    folder.mkdir()
    reference.save(folder, CONFIGS[name])
    model = load_case(folder, task_of_case(name))
    source = np.random.default_rng(seed)
    for count in (1, 17, 90):
        ids: list[int] = source.integers(3, VOCABULARY, count).tolist()
        hidden, logit = reference.outputs(ids)
        text = TextIds(ids=ids, second=SECOND if reference.pairs and count > SECOND else None)
        if logit is None:
            assert np.abs(np.array(model.encoder(Batch([text]))) - hidden.numpy()).max() < TOLERANCE
        else:
            assert abs(float(model.encode([text])[0, 0]) - float(logit)) < TOLERANCE
