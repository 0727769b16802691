"""The laws where a batch of another size rounds differently: on a GPU. Run by `MLX_ENABLE_TF32=0 scripts/test -m gpu` on a machine that
has one; with TF32, CUDA's float32 products have 10 bits.

Log-probabilities must agree within a tolerance, and tokens wherever the first two candidates are further apart than that. After a
near tie two runs may part; nothing is compared from there on.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from statistics import fmean

import mlx.core as mx
import pytest
from llguidance import LLMatcher

from pomona.core.generation import Grammar
from tests.engine.harness import END, LEXICON, alone, drive, expect_close, family, make_engine, make_prompt
from tests.families import FAMILIES, VOCABULARY

pytestmark = pytest.mark.gpu

STEM = [(7 * i + 3) % VOCABULARY for i in range(90)]
TOLERANCE = {mx.float32: 1e-2, mx.bfloat16: 0.5}
"""Of log-probabilities: bfloat16 has 8 bits, and these models' logits spread over tens."""
WIDE = [f"{name}/wide" for name in FAMILIES]


@pytest.fixture(params=[mx.float32, mx.bfloat16], ids=str)
def dtype(request: pytest.FixtureRequest) -> Iterator[mx.Dtype]:
    """Both types; the models are put back to float32 afterwards, since they are built once."""
    assert mx.default_device().type == mx.DeviceType.gpu, "this suite needs a GPU"
    for name in WIDE:
        family(name).module.set_dtype(request.param)
    yield request.param
    for name in WIDE:
        family(name).module.set_dtype(mx.float32)


@pytest.mark.parametrize("name", WIDE)
def test_batched_cached_and_chunked_equal_alone_within_rounding(name: str, dtype: mx.Dtype) -> None:
    rows = [make_prompt(f"{dtype}-{i}", STEM[: 4 + 17 * i], max_tokens=24, logprobs=2) for i in range(5)]
    engine = make_engine(name)
    for _ in range(2):
        results = drive(engine, {0: rows[:2], 3: rows[2:]})
        for prompt in rows:
            expect_close(results[prompt.id], alone(name, prompt), TOLERANCE[dtype])


@pytest.mark.parametrize("name", WIDE)
def test_grammars_hold_at_any_temperature(name: str, dtype: mx.Dtype) -> None:
    """Sums over the vocabulary are made in blocks there: a token without weight must not be picked all the same."""
    source = LLMatcher.grammar_from_regex("([a-z]{3}[0-9])+!")
    rows = [
        replace(
            make_prompt(f"{dtype}-{i}", STEM[: 4 + 9 * i], max_tokens=30, stop=(END,), temperature=0.5 * i, seed=i),
            grammar=Grammar(source=source),
        )
        for i in range(6)
    ]
    results = drive(make_engine(name), {0: [*rows, make_prompt(f"{dtype}-free", STEM[:20], max_tokens=30)]})
    for row in rows:
        result = results[row.id]
        assert result.failure is None
        text = b"".join(LEXICON.tokens[token] for token in result.tokens).decode()
        assert re.fullmatch(r"([a-z]{3}[0-9])+!" if result.finish_reason == "stop" else r"([a-z]{3}[0-9])*[a-z]{0,3}", text)


@pytest.mark.parametrize("name", WIDE)
def test_prompts_are_scored_within_rounding(name: str, dtype: mx.Dtype) -> None:
    row = replace(make_prompt(f"{dtype}-scored", STEM[:70], max_tokens=2), prompt_logprobs=1)
    chunked, whole = drive(make_engine(name), {0: [row]})[row.id], alone(name, row)
    assert len(chunked.prompt_logprobs) == 69
    pairs = zip(chunked.prompt_logprobs, whole.prompt_logprobs, strict=True)
    apart = [abs(got.logprob - wanted.logprob) for got, wanted in pairs]
    # Prompts are full of unlikely tokens, whose log-probabilities bfloat16 moves most: up to 2.2 with gpt_oss, which is 0.55 off elsewhere.
    assert (max(apart) if dtype == mx.float32 else fmean(apart)) <= TOLERANCE[dtype]
