"""The laws with adapters: each row gets what it gets alone, whichever adapters the others have, come, go or change."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.core.errors import AdapterUnusable
from pomona.core.generation import Prompt, TokenStep
from pomona.engine.engine import Engine
from tests.adapter_folders import ALL_LINEAR, ATTENTION, EXPERTS, change_weights, write_mlx_lm, write_peft
from tests.engine.harness import PAGE, alone, drive, family, make_engine, make_prompt
from tests.families import CONFIGS, VOCABULARY

FAMILIES = ("llama", "gemma3", "qwen3_moe", "qwen3_next", "gemma2", "stories260K")
STEM = [(7 * i + 3) % VOCABULARY for i in range(90)]
examples = settings(max_examples=5, deadline=None)


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str | None]]:
    """By family: none, and three of different kinds and ranks."""
    made: dict[str, list[str | None]] = {}
    for name in FAMILIES:
        place, module = tmp_path_factory.mktemp(name), family(name).module
        more = EXPERTS if name == "qwen3_moe" else ALL_LINEAR
        one = write_mlx_lm(place / "one", module, keys=more, rank=2, seed=1)
        two = write_mlx_lm(place / "two", module, keys=ATTENTION, rank=5, seed=2, dora=True)
        three = write_peft(place / "three", module, keys=("self_attn.v_proj",), rank=3, seed=3)
        made[name] = [None, str(one), str(two), str(three)]
    return made


@st.composite
def rows(draw: st.DrawFn) -> list[tuple[int, Prompt]]:
    """(Number of the adapter, prompt): up to six, many with a common beginning."""
    made: list[tuple[int, Prompt]] = []
    for index in range(draw(st.integers(2, 6))):
        shared, own = draw(st.sampled_from([0, 5, PAGE, 3 * PAGE, 70])), draw(st.lists(st.integers(0, 100), min_size=1, max_size=6))
        sampling: dict[str, Any] = draw(st.sampled_from([{}, {"temperature": 0.9, "seed": index}]))
        prompt = make_prompt(str(index), STEM[:shared] + own, max_tokens=draw(st.integers(1, 10)), **sampling)
        made.append((draw(st.integers(0, 3)), prompt))
    return made


@pytest.mark.parametrize("name", FAMILIES)
@examples
@given(given=rows(), gap=st.integers(0, 3), budget=st.sampled_from([16, 64]), share=st.booleans())
def test_any_schedule_equals_alone(
    name: str, adapters: dict[str, list[str | None]], given: list[tuple[int, Prompt]], gap: int, budget: int, share: bool
) -> None:
    prompts = [replace(prompt, adapter=adapters[name][number]) for number, prompt in given]
    engine = make_engine(name, step_token_budget=budget, prefix_cache=share)
    arrivals: dict[int, list[Prompt]] = {}
    for index, prompt in enumerate(prompts):
        arrivals.setdefault(index * gap, []).append(prompt)
    for _ in range(2):
        results = drive(engine, arrivals)
        for prompt in prompts:
            assert results[prompt.id].tokens == alone(name, prompt).tokens, prompt


@pytest.mark.parametrize("name", ["llama", "qwen3_next"])
def test_nothing_is_shared_between_adapters(name: str, adapters: dict[str, list[str | None]]) -> None:
    engine = make_engine(name)
    prompts = [
        make_prompt("a", STEM[:50]) if path is None else replace(make_prompt("a", STEM[:50]), adapter=path) for path in adapters[name]
    ]
    assert [drive(engine, {0: [prompt]})["a"].cached_tokens for prompt in prompts] == [0, 0, 0, 0]
    assert [drive(engine, {0: [prompt]})["a"].cached_tokens for prompt in prompts] == [48, 48, 48, 48]


@pytest.mark.parametrize("name", ["llama", "qwen3_next"])
def test_resumed_equals_uninterrupted(name: str, adapters: dict[str, list[str | None]]) -> None:
    engine = make_engine(name)
    for number, path in enumerate(adapters[name]):
        prompt = replace(make_prompt("row", STEM[:20], max_tokens=16, temperature=0.9, seed=number), adapter=path)
        whole = alone(name, prompt).tokens
        for at in (1, 8, 15):
            assert drive(engine, {0: [replace(prompt, answered_ids=tuple(whole[:at]))]})["row"].tokens == whole[at:]


@pytest.mark.parametrize("share", [True, False])
def test_preempted_equals_not(adapters: dict[str, list[str | None]], share: bool) -> None:
    engine = make_engine("llama", kv_cache_bytes=22 * make_engine("llama").page_bytes, prefix_cache=share)
    prompts = [replace(make_prompt(str(i), STEM[i : i + 20 + i], max_tokens=60), adapter=adapters["llama"][i % 4]) for i in range(5)]
    results = drive(engine, {0: prompts})
    assert engine.stats().preemptions > 0
    for prompt in prompts:
        assert results[prompt.id].tokens == alone("llama", prompt).tokens


def test_cancelled_rows_let_go_of_their_adapters(adapters: dict[str, list[str | None]]) -> None:
    engine = make_engine("llama", prefix_cache=False)
    prompts = [replace(make_prompt(str(i), STEM[:30], max_tokens=30), adapter=adapters["llama"][i]) for i in range(4)]
    results = drive(engine, {0: prompts}, events={3: [("cancel", "1")], 6: [("cancel", "2")]})
    for id in ("0", "3"):
        assert results[id].tokens == alone("llama", prompts[int(id)]).tokens
    stats = engine.stats()
    assert (stats.running, stats.waiting, stats.pages_used, stats.adapters) == (0, 0, 0, 3)


@pytest.fixture
def engine_for_two(tmp_path: Path) -> tuple[Engine, list[Prompt]]:
    """Five adapters of one size, and room for two that are used at once."""
    folders = [write_mlx_lm(tmp_path / str(seed), family("llama").module, seed=seed) for seed in range(5)]
    probe = make_engine("llama")
    drive(probe, {0: [replace(make_prompt("a", STEM[:4], max_tokens=1), adapter=str(folders[0]))]})
    room = 4 * probe.stats().adapter_bytes
    prompts = [replace(make_prompt(str(i), STEM[: 20 + i], max_tokens=20), adapter=str(folder)) for i, folder in enumerate(folders)]
    return make_engine("llama", adapter_bytes=room), prompts


def test_the_least_recently_used_adapter_goes_first(engine_for_two: tuple[Engine, list[Prompt]]) -> None:
    engine, prompts = engine_for_two
    for prompt in [*prompts, prompts[4], prompts[0], *prompts]:
        assert drive(engine, {0: [prompt]})[prompt.id].tokens == alone("llama", prompt).tokens
        assert engine.stats().adapters <= 4
    pairs = [[prompts[i], prompts[(i + 2) % 5]] for i in range(5)]
    for pair in pairs:
        results = drive(engine, {0: pair})
        assert all(results[prompt.id].tokens == alone("llama", prompt).tokens for prompt in pair)


def test_rows_whose_adapters_find_no_room_wait_in_order_and_disturb_nobody(engine_for_two: tuple[Engine, list[Prompt]]) -> None:
    engine, prompts = engine_for_two
    again = replace(prompts[0], id="again")  # its adapter is there: it must not overtake for ever
    plain = make_prompt("plain", STEM[:9], max_tokens=3)
    waiting = [*prompts, again, plain]
    ended: list[str] = []
    for prompt in waiting:
        engine.add(prompt)
    tokens: dict[str, list[int]] = {prompt.id: [] for prompt in waiting}
    while engine.has_work:
        for id, step in engine.step():
            tokens[id] += step.token_ids
            ended += [id] if step.finish_reason else []
        engine.check_integrity()
        assert engine.stats().adapters <= 4
    assert tokens == {prompt.id: alone("llama", prompt).tokens for prompt in [*prompts, plain]} | {"again": tokens["0"]}
    assert ended == ["plain", "0", "1", "2", "3", "4", "again"]


def test_a_waiting_row_that_is_cancelled_or_broken_makes_way(engine_for_two: tuple[Engine, list[Prompt]], tmp_path: Path) -> None:
    engine, prompts = engine_for_two
    results = drive(engine, {0: prompts}, events={1: [("cancel", "2")], 2: [("pause", "3")], 60: [("resume", "3")]})
    assert results["2"].tokens == []
    assert all(results[id].tokens == alone("llama", prompts[int(id)]).tokens for id in "0134")
    broken = replace(prompts[2], adapter=str(write_mlx_lm(tmp_path / "broken", family("llama").module, seed=9)))
    inputs = cast("int", CONFIGS["llama"]["hidden_size"])
    change_weights(tmp_path / "broken", {"model.layers.0.self_attn.q_proj.lora_a": mx.full((inputs, 4), mx.nan)})
    results = drive(engine, {0: [*prompts[:2], broken, prompts[3]]})
    assert isinstance(results["2"].failure, AdapterUnusable)
    assert results["3"].tokens == alone("llama", prompts[3]).tokens
    assert (engine.stats().running, engine.stats().waiting) == (0, 0)


def test_a_row_hears_that_its_adapter_is_there_before_anything_is_computed(engine_for_two: tuple[Engine, list[Prompt]]) -> None:
    engine, prompts = engine_for_two
    engine.add(prompts[0])
    assert engine.step()[0] == ("0", TokenStep())
    engine.close()


def test_an_adapter_larger_than_its_room_is_refused_by_name(engine_for_two: tuple[Engine, list[Prompt]]) -> None:
    engine, prompts = make_engine("llama", adapter_bytes=100), engine_for_two[1]
    with pytest.raises(AdapterUnusable, match=r"'0' needs [\d,]+ bytes; engine.adapter_bytes allows 100"):
        engine.add(prompts[0])
    assert drive(engine, {0: [make_prompt("a", STEM[:9])]})["a"].tokens == alone("llama", make_prompt("a", STEM[:9])).tokens


def test_changed_files_hold_from_the_next_row_on(tmp_path: Path) -> None:
    module, engine = family("llama").module, make_engine("llama")
    old, new = write_mlx_lm(tmp_path / "old", module, seed=1), write_mlx_lm(tmp_path / "new", module, seed=2)
    before, after = (alone("llama", replace(make_prompt("a", STEM[:40], max_tokens=20), adapter=str(path))).tokens for path in (old, new))
    assert before != after
    first = replace(make_prompt("a", STEM[:40], max_tokens=20), adapter=str(write_mlx_lm(tmp_path / "x", module, seed=1)))
    made: dict[str, list[int]] = {"a": [], "b": []}
    engine.add(first)
    for step in range(100):
        if step == 8:
            assert 0 < len(made["a"]) < 20
            write_mlx_lm(tmp_path / "x", module, seed=2)
            engine.add(replace(first, id="b"))
        for id, got in engine.step() if engine.has_work else ():
            made[id] += got.token_ids
        engine.check_integrity()
    assert made == {"a": before, "b": after}
    assert engine.stats().adapters == 1  # the old one went with its last row
