"""Encoders and rerankers compute what transformers and sentence-transformers compute, with the C functions for CPUs and without."""

from dataclasses import replace
from typing import cast

import mlx.core as mx
import numpy as np
import pytest

from pomona.models.encoders.batch import Batch, TextIds
from pomona.models.encoders.layout import read_layout
from pomona.models.encoders.pooling import Pooling
from pomona.models.validation import read_config
from tests.golden.encoder_cases import NAMES, POOLING_MODES, SECOND, TOLERANCE, EncoderGolden, Floats, load_case, read_encoder_golden

EMBEDDERS = [name for name in NAMES if read_encoder_golden(name).task == "embed"]
RERANKERS = [name for name in NAMES if name not in EMBEDDERS]


def texts_of(golden: EncoderGolden) -> list[TextIds]:
    pairs = golden.name == "bert-reranker"
    return [TextIds(ids=ids, second=SECOND if pairs and len(ids) > SECOND else None) for ids in golden.prompts]


@pytest.mark.parametrize("plain", [False, True], ids=["C", "MLX"])
@pytest.mark.parametrize("name", EMBEDDERS)
def test_hidden_states_equal_those_of_transformers(name: str, plain: bool) -> None:
    golden = read_encoder_golden(name)
    model = load_case(golden.folder, golden.task, plain=plain)
    found = cast("Floats", np.array(model.encoder(Batch(texts_of(golden)))))
    assert np.abs(found - np.concatenate(golden.hidden)).max() < TOLERANCE


@pytest.mark.parametrize("plain", [False, True], ids=["C", "MLX"])
@pytest.mark.parametrize("name", RERANKERS)
def test_logits_equal_those_of_transformers(name: str, plain: bool) -> None:
    golden = read_encoder_golden(name)
    assert golden.logits is not None
    found = load_case(golden.folder, golden.task, plain=plain).encode(texts_of(golden))[:, 0]
    assert np.abs(found - golden.logits).max() < TOLERANCE


@pytest.mark.parametrize("mode", POOLING_MODES)
@pytest.mark.parametrize("name", EMBEDDERS)
def test_poolings_equal_those_of_sentence_transformers(name: str, mode: str) -> None:
    golden = read_encoder_golden(name)
    layout = read_layout(golden.folder, read_config(golden.folder), "embed")
    pooling = Pooling(replace(layout, pooling=(mode,), normalize=False), 32)
    batch = Batch(texts_of(golden))
    found = np.array(pooling(mx.array(np.concatenate(golden.hidden)), batch))[1]
    assert np.abs(found - golden.pooled[mode]).max() < TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_gives_what_each_text_gives_alone(name: str) -> None:
    golden = read_encoder_golden(name)
    model = load_case(golden.folder, golden.task)
    texts = texts_of(golden) * 2
    together = model.encode(texts)
    alone = np.concatenate([model.encode([text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-5
