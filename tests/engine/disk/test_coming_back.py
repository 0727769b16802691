"""Rows that lost their pages look on disk when they come back, and get what they get otherwise."""

from pathlib import Path

import pytest

from tests.engine.disk.engines import ROOM, STEM, AlwaysPays, engine_on, place
from tests.engine.harness import PAGE, alone, drive, make_engine, make_prompt

PAGES = 22
"""Room for a third of what the rows come to need."""
ROWS = [make_prompt(str(number), STEM[number : number + 3 * PAGE + number], max_tokens=60) for number in range(5)]
"""Their prompts are too short for the disk: what is read was put back."""


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt_oss", "qwen3_next"])
def test_preempted_equals_not_with_pages_from_disk(name: str, tmp_path: Path) -> None:
    with engine_on(tmp_path, name) as engine:
        budget = PAGES * engine.page_bytes
        drive(engine, {0: ROWS})
    with engine_on(tmp_path, name, ROOM, kv_cache_bytes=budget) as engine:
        got = drive(engine, {0: ROWS})
        stats = engine.stats()
    assert {row.id: got[row.id].tokens for row in ROWS} == {row.id: alone(name, row).tokens for row in ROWS}
    assert stats.preemptions > 0
    if name != "qwen3_next":  # of a long answer few states are kept
        assert stats.disk_blocks_read >= 4


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_a_slow_reader_that_comes_back_late_finds_its_pages_on_disk(name: str, tmp_path: Path) -> None:
    slow = make_prompt("slow", STEM[:24], max_tokens=60)
    others = [make_prompt(str(number), [number, *STEM[:70]], max_tokens=20) for number in range(3)]
    with engine_on(tmp_path, name) as engine:
        budget = PAGES * engine.page_bytes
        drive(engine, {0: [slow]})
    with engine_on(tmp_path, name, ROOM, kv_cache_bytes=budget) as engine:
        events = {40: [("pause", "slow")], 250: [("resume", "slow")]}
        got = drive(engine, {0: [slow], 41: others[:2], 90: others[2:]}, events=events)
        stats = engine.stats()
    assert {id: result.tokens for id, result in got.items()} == {row.id: alone(name, row).tokens for row in (slow, *others)}
    assert stats.disk_blocks_read >= 4


def test_nothing_is_read_while_memory_still_has_it(tmp_path: Path) -> None:
    slow = make_prompt("slow", STEM[:24], max_tokens=60)
    with engine_on(tmp_path, "llama") as engine:
        drive(engine, {0: [slow]})
    engine = make_engine("llama", max_rows=1)
    engine.keep_on_disk(place(tmp_path, "llama"), AlwaysPays())
    other = make_prompt("other", STEM[30:40], max_tokens=5)
    got = drive(engine, {0: [slow], 31: [other]}, events={30: [("pause", "slow")], 90: [("resume", "slow")]})
    stats = engine.stats()
    engine.close()
    assert got["slow"].tokens == alone("llama", slow).tokens
    assert (stats.preemptions, stats.disk_blocks_read) == (1, 0)


def test_where_computing_is_quicker_it_is_computed(tmp_path: Path) -> None:
    class NeverPays(AlwaysPays):
        def pays(self, tokens: int, nbytes: int) -> bool:
            return not super().pays(tokens, nbytes)

    with engine_on(tmp_path, "llama") as engine:
        budget = PAGES * engine.page_bytes
        drive(engine, {0: ROWS})
    engine = make_engine("llama", kv_cache_bytes=budget)
    engine.keep_on_disk(place(tmp_path, "llama"), NeverPays())
    got = drive(engine, {0: ROWS})
    stats = engine.stats()
    engine.close()
    assert {row.id: got[row.id].tokens for row in ROWS} == {row.id: alone("llama", row).tokens for row in ROWS}
    assert stats.preemptions > 0
    assert stats.disk_blocks_read == 0
