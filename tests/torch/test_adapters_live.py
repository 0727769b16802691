"""Adapters against PEFT as it runs here: fresh weights, models of random weights.

Run with `-m torch` in an environment that also has torch, transformers and peft; `tests/golden/adapters.py` says which.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import mlx.nn as nn
import numpy as np
import pytest

from pomona.core.generation import Prompt, SamplingParams
from pomona.core.settings import EngineSettings
from pomona.engine.engine import Engine
from tests.families import VOCABULARY
from tests.golden.adapters import CASES, LINEAR, PROMPT, save_and_ask
from tests.golden.cases import RANDOM, load_forward
from tests.golden.reference import random_reference

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    **{name: case.options for name, case in CASES.items() if name != "embedding"},
    "rsdora": {"r": 5, "lora_alpha": 7, "target_modules": LINEAR, "use_dora": True, "use_rslora": True},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma3"])
def test_fresh_adapters_give_the_log_probabilities_of_peft(name: str, options: str, tmp_path: Path) -> None:
    reference = random_reference(RANDOM[name], seed=5)
    reference.save(tmp_path, RANDOM[name])
    tolerance = max(5e-4, 10 * reference.noise(PROMPT))
    folder, logits = save_and_ask(reference, OPTIONS[options], PROMPT, seed=11)
    expected = logits.log_softmax(dim=-1).numpy()
    settings = EngineSettings(step_token_budget=16, page_tokens=8, kv_cache_bytes=2**26)
    engine = Engine(cast("nn.Module", load_forward(tmp_path)), settings, vocabulary=VOCABULARY, max_context=512)
    row = Prompt(id="a", token_ids=PROMPT, sampling=SamplingParams(temperature=0.0), max_tokens=1, prompt_logprobs=0, adapter=str(folder))
    for each in (row, replace(row, id="b", adapter=None)):
        engine.add(each)
    steps = {id: step for _ in range(20) for id, step in (engine.step() if engine.has_work else ())}
    got = [score.logprob for score in steps["a"].prompt_logprobs]
    wanted = [expected[i, token] for i, token in enumerate(PROMPT[1:])]
    assert float(np.abs(np.array(got) - np.array(wanted)).max()) < tolerance
