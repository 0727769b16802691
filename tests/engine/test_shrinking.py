"""Memory given back in the middle of work: nothing changes but the memory."""

from dataclasses import replace

import pytest

from tests.engine.harness import PAGE, TRAINED, alone, drive, make_engine, make_prompt
from tests.families import FAMILIES, VOCABULARY

STEM = [(7 * i + 3) % VOCABULARY for i in range(60)]


@pytest.mark.parametrize("name", [*FAMILIES, "stories260K"])
def test_rows_get_what_they_get_alone_however_often_memory_is_given_back(name: str) -> None:
    engine = make_engine(name)
    rows = [make_prompt(str(index), [*STEM[: 20 * index], index], max_tokens=10) for index in range(4)]
    arrivals = {2 * index: [row] for index, row in enumerate(rows)}
    results = drive(engine, arrivals, events={step: [("shrink", "")] for step in range(0, 16, 3)})
    assert {row.id: results[row.id].tokens for row in rows} == {row.id: alone(name, row).tokens for row in rows}


@pytest.mark.parametrize("name", ["llama", "qwen3_next", *TRAINED])
def test_what_was_kept_for_later_prompts_is_gone_and_the_arrays_are_small_again(name: str) -> None:
    engine = make_engine(name)
    fresh = engine.stats().kv_bytes
    prompt = make_prompt("first", STEM, max_tokens=PAGE)
    drive(engine, {0: [prompt, replace(prompt, id="other", token_ids=tuple(reversed(STEM)))]})
    assert engine.stats().pages_cached > 0
    engine.shrink()
    engine.check_integrity()
    stats = engine.stats()
    assert (stats.pages_cached, stats.pages_used) == (0, 0)
    assert stats.kv_bytes <= fresh
    again = drive(engine, {0: [replace(prompt, id="again")]})["again"]
    assert (again.tokens, again.cached_tokens) == (alone(name, prompt).tokens, 0)
