"""A window of the settings, with the first tokens in sight: each row gets what a dense mask of that form gives, in any company."""

from typing import Any, cast

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx_lm.models.cache import KVCache, RotatingKVCache, make_prompt_cache

from pomona.core.errors import ConfigurationError
from pomona.core.generation import Prompt
from tests.engine.harness import PAGE, alone, drive, family, make_engine, make_prompt
from tests.engine.test_laws import prompts

WINDOW = 2 * PAGE + 3
KINDS = ["llama", "qwen3_moe", "gpt_oss", "deepseek_v2", "qwen3_next"]
kinds = pytest.mark.parametrize("name", KINDS)
sinks_of = st.sampled_from([0, 1, 4, PAGE, PAGE + 1])
long_prompt = [(11 * i + 5) % 97 for i in range(9 * PAGE + 3)]


class DenseSinks(KVCache):
    """mlx-lm's own cache, which keeps all, under a mask with a window and sinks."""

    def __init__(self, sinks: int) -> None:
        super().__init__()
        self._sinks = sinks

    def make_mask(self, N: int, return_array: bool = False, window_size: int | None = None) -> mx.array:  # noqa: N803
        """(N, N) booleans."""
        del return_array, window_size
        queries, keys = mx.arange(N)[:, None], mx.arange(N)[None]
        return (keys <= queries) & ((keys > queries - WINDOW) | (keys < self._sinks))


def dense_choices(name: str, ids: list[int], sinks: int) -> list[int]:
    """The most likely token behind each one of `ids`, computed at once."""
    module = cast("Any", family(name).module)
    caches = [DenseSinks(sinks) if type(leaf) is KVCache else leaf for leaf in make_prompt_cache(module)]
    logits = cast("mx.array", module(mx.array([ids]), cache=caches))
    return cast("list[int]", logits[0].argmax(-1).tolist())


@pytest.mark.parametrize("name", ["llama", "qwen3_moe"])
@pytest.mark.parametrize("sinks", [0, 3, PAGE + 2])
def test_the_answer_is_that_of_a_dense_mask(name: str, sinks: int) -> None:
    engine = make_engine(name, attention_window=WINDOW, attention_sinks=sinks)
    answer = drive(engine, {0: [make_prompt("a", long_prompt, max_tokens=12)]})["a"].tokens
    choices = dense_choices(name, [*long_prompt, *answer], sinks)
    assert answer == choices[len(long_prompt) - 1 : -1]
    assert dense_choices(name, [*long_prompt, *answer], 0 if sinks else 5) != choices, "the sinks must show in these texts"


@kinds
@settings(max_examples=4, deadline=None)
@given(
    rows=prompts(), gap=st.integers(0, 3), sinks=sinks_of, budget=st.sampled_from([16, 40]), kernels=st.sampled_from(["auto", "reference"])
)
def test_any_schedule_equals_alone(name: str, rows: list[Prompt], gap: int, sinks: int, budget: int, kernels: str) -> None:
    options: dict[str, Any] = {"kv_cache_bytes": 2**25, "attention_window": WINDOW, "attention_sinks": sinks, "kernels": kernels}
    engine = make_engine(name, step_token_budget=budget, **options)
    arrivals: dict[int, list[Prompt]] = {}
    for index, prompt in enumerate(rows):
        arrivals.setdefault(index * gap, []).append(prompt)
    wanted = {prompt.id: alone(name, prompt, **options).tokens for prompt in rows}
    for _ in range(2):  # the second time round everything may come out of the prefix cache
        assert {id: result.tokens for id, result in drive(engine, arrivals).items()} == wanted


def test_memory_does_not_grow_with_the_context() -> None:
    engine = make_engine("llama", attention_window=WINDOW, attention_sinks=4, step_token_budget=16, prefix_cache=False)
    engine.add(make_prompt("a", long_prompt * 2, max_tokens=40))
    held: list[int] = []
    while engine.has_work:
        engine.step()
        held.append(engine.stats().pages_used)
    assert max(held) <= 1 + (WINDOW + 16) // PAGE + 3
    assert len(long_prompt) * 2 // PAGE > max(held)
    engine.check_integrity()


def test_sinks_and_window_are_all_that_a_later_prompt_needs() -> None:
    engine = make_engine("llama", attention_window=WINDOW, attention_sinks=4)
    drive(engine, {0: [make_prompt("a", long_prompt, max_tokens=2)]})
    again = drive(engine, {0: [make_prompt("b", [*long_prompt, 3, 4], max_tokens=2)]})["b"]
    assert again.cached_tokens == len(long_prompt) // PAGE * PAGE


def test_layers_with_a_window_of_their_own_keep_it() -> None:
    assert any(type(leaf) is RotatingKVCache for leaf in make_prompt_cache(cast("Any", family("gemma3").module)))
    engine = make_engine("gemma3", attention_window=WINDOW, attention_sinks=4)
    answer = drive(engine, {0: [make_prompt("a", long_prompt, max_tokens=4)]})["a"].tokens
    assert len(answer) == 4
    engine.check_integrity()


def test_a_budget_that_is_less_than_one_window_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"at least \d+ are needed"):
        make_engine("llama", attention_window=100 * PAGE, attention_sinks=4, kv_cache_bytes=2**15)
