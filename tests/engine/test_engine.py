"""What an engine promises beyond the laws: sharing, order, limits, refusals."""

import mlx.core as mx
import pytest

from pomona.core.errors import ConfigurationError, ContextOverflow, InvalidRequest, Overloaded
from pomona.core.generation import Prompt
from pomona.engine.cache.model_cache import ModelCache
from pomona.engine.engine import Engine
from tests.engine.harness import PAGE, alone, drive, expect_close, family, make_engine, make_prompt, settings
from tests.families import FAMILIES, VOCABULARY

STEM = [(5 * i + 1) % VOCABULARY for i in range(120)]


def test_equal_beginnings_share_pages() -> None:
    """Four rows over one beginning of 12 blocks hold it once."""
    engine = make_engine("llama", step_token_budget=256)
    drive(engine, {0: [make_prompt("warm", STEM[:97])]})
    for i in range(4):
        engine.add(make_prompt(str(i), [*STEM[:96], i], max_tokens=4))
    engine.step()
    assert engine.stats().running == 4
    assert engine.stats().pages_used == 12 + 4


def test_a_beginning_in_progress_is_waited_for() -> None:
    """Rows that arrive together with equal prompts compute them once."""
    engine = make_engine("llama")
    rows = [make_prompt(str(i), STEM[:90], max_tokens=3) for i in range(5)]
    results = drive(engine, {0: rows})
    assert [results[str(i)].cached_tokens for i in range(5)] == [0, 88, 88, 88, 88]


def test_a_window_lets_go_of_what_it_left_behind() -> None:
    engine = make_engine("gemma3", prefix_cache=False)
    engine.add(make_prompt("a", STEM, max_tokens=20))
    held: list[int] = []
    while engine.has_work:
        engine.step()
        engine.check_integrity()
        held.append(engine.stats().pages_used)
    blocks = 140 // PAGE + 1
    assert max(held) < 2 * blocks
    assert max(held[-10:-1]) <= blocks + 16 // PAGE + 2


@pytest.mark.parametrize(("bits", "tolerance"), [(4, 1.0), (8, 0.1)])
@pytest.mark.parametrize("name", ["llama/wide", "gemma3/wide"])
def test_quantised_pages_keep_the_laws(name: str, bits: int, tolerance: float) -> None:
    """Batched, chunked, cached and preempted rows equal the lone one, but for values on the edge between two quantisation steps."""
    budget = 22 * make_engine(name, kv_bits=bits).page_bytes
    rows = [make_prompt(str(i), STEM[i : i + 30], max_tokens=40, logprobs=2) for i in range(4)]
    engine = make_engine(name, kv_bits=bits, kv_cache_bytes=budget)
    for _ in range(2):
        results = drive(engine, {0: rows})
        for prompt in rows:
            expect_close(results[prompt.id], alone(name, prompt, kv_bits=bits), tolerance)
    assert engine.stats().preemptions > 0
    assert budget < 22 * make_engine(name).page_bytes


def test_heads_too_narrow_for_quantised_pages_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="multiple of 32"):
        make_engine("llama", kv_bits=8)


@pytest.mark.parametrize("name", FAMILIES)
def test_batching_is_proven_and_not_assumed(name: str) -> None:
    """Of these, mlx-lm's definition of gemma2 alone answers otherwise in a batch; the laws hold for it all the same."""
    warnings = make_engine(name).warnings
    assert len(warnings) == (1 if name == "gemma2" else 0)
    assert all("other answers in a batch" in text for text in warnings)


def test_rows_that_cannot_share_a_pass_run_alone() -> None:
    engine = make_engine("llama")
    engine._runner.batches = False  # pyright: ignore[reportPrivateUsage]
    rows = [make_prompt(str(i), STEM[: 5 + 20 * i], temperature=1.0, seed=i) for i in range(4)]
    results = drive(engine, {0: rows})
    assert {p.id: results[p.id].tokens for p in rows} == {p.id: alone("llama", p).tokens for p in rows}


def test_unknown_caches_are_kept_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def know_nothing(leaf: object) -> bool:
        del leaf
        return False

    monkeypatch.setattr("pomona.engine.cache.model_cache._is_known", know_nothing)
    engine = make_engine("qwen3_next")
    assert "one after another" in engine.warnings[0]
    rows = [make_prompt(str(i), STEM[: 5 + 20 * i], temperature=1.0, seed=i) for i in range(3)]
    results = drive(engine, {0: rows})
    monkeypatch.undo()
    assert {p.id: results[p.id].tokens for p in rows} == {p.id: alone("qwen3_next", p).tokens for p in rows}


def test_a_short_prompt_is_not_held_up_by_a_long_one() -> None:
    engine = make_engine("llama", step_token_budget=32)
    engine.add(make_prompt("long", [*STEM, *STEM, *STEM], max_tokens=5))
    engine.add(make_prompt("short", STEM[5:15], max_tokens=5))
    order: list[str] = []
    while engine.has_work:
        order += [id for id, _ in engine.step()]
    assert order.index("short") < order.index("long")


def test_a_stop_token_ends_the_row_and_is_not_returned() -> None:
    prompt = make_prompt("a", STEM[:20], max_tokens=10)
    whole = alone("llama", prompt).tokens
    stop = whole[4]
    result = drive(make_engine("llama"), {0: [make_prompt("a", STEM[:20], max_tokens=10, stop=(stop,))]})["a"]
    assert result.tokens == whole[: whole.index(stop)]
    assert result.finish_reason == "stop"


def test_max_tokens_ends_the_row() -> None:
    result = drive(make_engine("llama"), {0: [make_prompt("a", [1], max_tokens=3)]})["a"]
    assert len(result.tokens) == 3
    assert result.finish_reason == "length"


@pytest.mark.parametrize(
    ("prompt", "error", "says"),
    [
        (make_prompt("a", []), InvalidRequest, "empty"),
        (make_prompt("a", [VOCABULARY]), InvalidRequest, f"{VOCABULARY}.*0 to {VOCABULARY - 1}"),
        (make_prompt("a", [-1]), InvalidRequest, "-1"),
        (make_prompt("a", [1], logit_bias={999: 1.0}), InvalidRequest, "999"),
        (make_prompt("a", [1] * 400, max_tokens=200), ContextOverflow, "400 prompt tokens.*512"),
    ],
)
def test_bad_prompts_are_refused(prompt: Prompt, error: type[Exception], says: str) -> None:
    engine = make_engine("llama")
    with pytest.raises(error, match=says):
        engine.add(prompt)
    assert not engine.has_work


def test_the_same_id_twice_is_refused() -> None:
    engine = make_engine("llama")
    engine.add(make_prompt("a", [1]))
    with pytest.raises(InvalidRequest, match="'a'"):
        engine.add(make_prompt("a", [2]))


def test_the_queue_is_bounded() -> None:
    engine = make_engine("llama", max_rows=1, max_waiting=1)
    engine.add(make_prompt("a", [1]))
    engine.add(make_prompt("b", [1]))
    with pytest.raises(Overloaded, match="max_waiting"):
        engine.add(make_prompt("c", [1]))


def test_a_context_longer_than_the_budget_is_shortened_and_still_works() -> None:
    """A row may use every page there is, but no more."""
    small = 10 * make_engine("llama").page_bytes
    engine = make_engine("llama", kv_cache_bytes=small)
    assert engine.max_context == 9 * PAGE
    result = drive(engine, {0: [make_prompt("a", STEM[:50], max_tokens=22)]})["a"]
    assert len(result.tokens) == 22


def test_a_budget_of_nearly_nothing_is_refused() -> None:
    model = family("llama")
    with pytest.raises(ConfigurationError, match="kv_cache_bytes"):
        ModelCache(model.module, settings(), budget_bytes=1)


def test_paused_rows_do_not_count_as_work() -> None:
    engine = make_engine("llama")
    engine.add(make_prompt("a", [1]))
    engine.pause("a")
    assert not engine.has_work
    engine.resume("a")
    assert engine.has_work


def test_a_paused_row_gives_way_when_pages_are_short() -> None:
    """A reader that stalls must not keep others from being answered; its own text stays the same."""
    budget = 14 * make_engine("llama").page_bytes
    engine = make_engine("llama", kv_cache_bytes=budget)
    stalled, other = make_prompt("stalled", STEM[:60], max_tokens=30), make_prompt("other", STEM[30:90], max_tokens=30)
    results = drive(engine, {0: [stalled], 8: [other]}, events={6: [("pause", "stalled")], 90: [("resume", "stalled")]})
    assert {id: result.tokens for id, result in results.items()} == {p.id: alone("llama", p).tokens for p in (stalled, other)}
    assert engine.stats().preemptions > 0


def test_paused_rows_do_not_keep_the_places() -> None:
    engine = make_engine("llama", max_rows=2)
    stalled = [make_prompt(f"stalled-{i}", STEM[i : i + 20], max_tokens=20) for i in range(2)]
    others = [make_prompt(str(i), STEM[i : i + 30], max_tokens=5) for i in range(3)]
    pauses = [("pause", row.id) for row in stalled]
    resumes = [("resume", row.id) for row in stalled]
    results = drive(engine, {0: stalled, 6: others}, events={5: pauses, 60: resumes})
    assert {id: result.tokens for id, result in results.items()} == {p.id: alone("llama", p).tokens for p in (*stalled, *others)}
    assert engine.stats().preemptions == 2


def test_half_precision_works_on_cpus_too() -> None:
    model = FAMILIES["llama"]()
    model.module.set_dtype(mx.bfloat16)
    engine = Engine(model.module, settings(), vocabulary=model.vocabulary, max_context=model.max_context)
    results = drive(engine, {0: [make_prompt(str(i), STEM[: 9 + 20 * i]) for i in range(3)]})
    assert not engine.warnings
    assert [len(result.tokens) for result in results.values()] == [12, 12, 12]


def test_close_drops_everything() -> None:
    engine = make_engine("llama", prefix_cache=False)
    engine.add(make_prompt("a", STEM))
    engine.step()
    engine.close()
    assert isinstance(engine, Engine)
    assert (engine.stats().running, engine.stats().pages_used, engine.has_work) == (0, 0, False)
