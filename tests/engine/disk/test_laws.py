"""cached on disk == uncached, for every kind of layer."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.core.generation import Prompt
from tests.engine.disk.engines import STEM, answer, engine_on, files
from tests.engine.harness import PAGE, TRAINED, alone, drive, make_prompt
from tests.families import FAMILIES

KINDS: list[tuple[str, int | None]] = [*((name, None) for name in (*FAMILIES, *TRAINED)), ("llama/wide", 8), ("llama/wide", 4)]
every_kind = pytest.mark.parametrize(("name", "bits"), KINDS)


@every_kind
def test_an_engine_that_starts_anew_takes_up_what_another_one_computed(name: str, bits: int | None, tmp_path: Path) -> None:
    prompt = make_prompt("a", STEM[:70], max_tokens=20)
    first = answer(tmp_path, name, prompt, kv_bits=bits)["a"]
    second = answer(tmp_path, name, prompt, kv_bits=bits)["a"]
    assert (first.cached_tokens, second.cached_tokens) == (0, 64)
    assert first.tokens == second.tokens == alone(name, prompt, kv_bits=bits).tokens


@pytest.mark.parametrize(
    ("name", "bits"), [("llama", None), ("gemma3", None), ("qwen3_next", None), ("falcon_h1", None), ("llama/wide", 8)]
)
@settings(max_examples=3, deadline=None)
@given(data=st.data())
def test_whatever_was_asked_before_changes_no_answer(name: str, bits: int | None, data: st.DataObject) -> None:
    """Beginnings of many lengths, sampled and greedy, in several engines one after the other, some of them with little memory."""
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            rows = data.draw(_prompts())
            roomy = data.draw(st.booleans())
            pages = {} if roomy else {"kv_cache_bytes": _pages(name, bits, 26)}
            got = answer(Path(folder), name, *rows, kv_bits=bits, **pages)
            assert {row.id: got[row.id].tokens for row in rows} == {row.id: alone(name, row, kv_bits=bits).tokens for row in rows}


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt_oss", "qwen3_next"])
def test_a_longer_conversation_goes_on_from_what_was_answered_before(name: str, tmp_path: Path) -> None:
    """Blocks of answers are kept as well; of recurrent layers, the state at the end of the answer."""
    first = make_prompt("a", STEM[:40], max_tokens=30)
    told = answer(tmp_path, name, first)["a"].tokens
    second = make_prompt("b", [*first.token_ids, *told, 5, 6], max_tokens=10)
    got = answer(tmp_path, name, second)["b"]
    assert got.cached_tokens >= 56
    assert got.tokens == alone(name, second).tokens


def test_rows_that_begin_alike_and_come_together_read_it_once(tmp_path: Path) -> None:
    rows = [make_prompt(str(number), [*STEM[:64], number], max_tokens=6) for number in range(5)]
    answer(tmp_path, "llama", rows[0])
    with engine_on(tmp_path, "llama") as engine:
        got = drive(engine, {0: rows[:3], 2: rows[3:]})
        stats = engine.stats()
    assert stats.disk_blocks_read == 64 // PAGE
    assert [got[row.id].cached_tokens for row in rows] == [64] * 5
    assert [got[row.id].tokens for row in rows] == [alone("llama", row).tokens for row in rows]


def test_what_memory_had_to_let_go_of_is_found_on_disk(tmp_path: Path) -> None:
    """Room for two prompts, five of them in turn, twice."""
    rows = [make_prompt(str(number), [number, *STEM[:64]], max_tokens=4) for number in range(5)]
    with engine_on(tmp_path, "llama", kv_cache_bytes=_pages("llama", None, 20)) as engine:
        first = {row.id: drive(engine, {0: [row]})[row.id] for row in rows}
        got = {row.id: drive(engine, {0: [row]})[row.id] for row in rows}
    assert [first[row.id].cached_tokens for row in rows] == [0] * 5
    assert [got[row.id].cached_tokens for row in rows] == [64] * 5
    assert [got[row.id].tokens for row in rows] == [alone("llama", row).tokens for row in rows]


@pytest.mark.parametrize("name", ["llama", "gemma3", "qwen3_next"])
def test_a_row_that_is_cancelled_while_it_waits_for_the_disk_leaves_nothing(name: str, tmp_path: Path) -> None:
    prompt = make_prompt("a", STEM[:70])
    answer(tmp_path, name, prompt)
    for step in range(4):
        with engine_on(tmp_path, name) as engine:
            got = drive(engine, {0: [prompt, replace(prompt, id="b")]}, events={step: [("cancel", "a")]})
            assert got["b"].tokens == alone(name, prompt).tokens
            assert engine.stats().pages_used == 0


def test_other_widths_other_types_and_other_weights_have_folders_of_their_own(tmp_path: Path) -> None:
    prompt = make_prompt("a", STEM[:70])
    for changes in ({}, {"kv_bits": 8}, {"kv_bits": 4}, {"page_tokens": 16}):
        assert answer(tmp_path, "llama/wide", prompt, **changes)["a"].cached_tokens == 0
    assert answer(tmp_path, "qwen3/wide", prompt)["a"].cached_tokens == 0
    assert len({path.parent for path in files(tmp_path)}) == 5


def test_files_are_safetensors(tmp_path: Path) -> None:
    answer(tmp_path, "llama/wide", make_prompt("a", STEM[:70]), kv_bits=8)
    tensors = cast("list[tuple[str, dict[str, Any]]]", cast("Any", safetensors).deserialize(files(tmp_path)[0].read_bytes()))
    assert sorted(tensor["dtype"] for _, tensor in tensors) == ["F32", "U32"]


@st.composite
def _prompts(draw: st.DrawFn) -> list[Prompt]:
    made: list[Prompt] = []
    for index in range(draw(st.integers(1, 3))):
        shared = draw(st.sampled_from([4 * PAGE, 5 * PAGE + 3, 8 * PAGE]))
        own = draw(st.lists(st.integers(0, 5), min_size=1, max_size=20))
        sampling: dict[str, Any] = draw(st.sampled_from([{}, {"temperature": 1.0, "seed": index}]))
        made.append(make_prompt(str(index), STEM[:shared] + own, max_tokens=draw(st.integers(1, 12)), **sampling))
    return made


def _pages(name: str, bits: int | None, pages: int) -> int:
    with tempfile.TemporaryDirectory() as folder, engine_on(Path(folder), name, kv_bits=bits) as engine:
        return pages * engine.page_bytes
