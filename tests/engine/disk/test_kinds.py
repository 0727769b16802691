"""cached on disk == uncached with adapters, pictures, windows of the settings, and kernels that write in place; nothing else is a hit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from pomona.engine.attention.paged import Pools, Reference
from pomona.engine.attention.views import Place
from tests.adapter_folders import ATTENTION, write_mlx_lm, write_peft
from tests.engine.disk.engines import ROOM, STEM, AlwaysPays, answer, engine_on, files, place
from tests.engine.harness import PAGE, alone, drive, family, make_prompt
from tests.engine.scenes import numpy
from tests.engine.test_pictures import GREEDY, open_engine, other_picture, prompts
from tests.golden.picture_cases import PICTURE_NAMES

WINDOW = 2 * PAGE + 3


class InPlace(Reference):
    """Writes where the pages lie, behind MLX's back, as kernels on a GPU do: what was to be copied before must have been."""

    in_place = True

    def write(self, pools: Pools, keys: mx.array, values: mx.array, place: Place) -> Pools:
        pages, slots = (numpy(each).astype(np.int64) for each in place.slots(keys.shape[2]))
        mx.synchronize()  # passes run in the order in which they were started
        for pool, new in ((pools.keys, keys), (pools.values, values)):
            mx.eval(pool, new)
            np.array(pool, copy=False)[:, pages, slots] = numpy(new).transpose(1, 0, 2, 3)
        return Pools(pools.keys, pools.values, mx.zeros(1))


def in_place_if_on(setting: str) -> InPlace | None:
    return InPlace() if setting == "on" else None


@pytest.fixture
def in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pomona.engine.cache.model_cache.choose", in_place_if_on)


@pytest.mark.parametrize("name", ["llama", "qwen3_next"])
def test_another_adapter_finds_nothing_and_the_same_one_all(name: str, tmp_path: Path) -> None:
    module = family(name).module
    one = write_mlx_lm(tmp_path / "one", module, keys=ATTENTION, rank=2, seed=1)
    two = write_peft(tmp_path / "two", module, keys=("self_attn.v_proj",), rank=3, seed=3)
    plain = make_prompt("a", STEM[:70], max_tokens=12)
    rows = [plain, replace(plain, adapter=str(one)), replace(plain, adapter=str(two))]
    wanted = [alone(name, row).tokens for row in rows]
    assert len({tuple(each) for each in wanted}) > 1, "adapters must show in these answers"
    for cached in (0, 64):
        got = [answer(tmp_path / "cache", name, row)["a"] for row in rows]
        assert [each.cached_tokens for each in got] == [cached] * 3
        assert [each.tokens for each in got] == wanted


def test_an_adapter_whose_weights_change_finds_nothing_of_before(tmp_path: Path) -> None:
    row = replace(make_prompt("a", STEM[:70], max_tokens=12), adapter=str(tmp_path / "own"))
    for seed in (1, 2):
        write_mlx_lm(tmp_path / "own", family("llama").module, keys=ATTENTION, rank=2, seed=seed)
        write_mlx_lm(tmp_path / f"same-{seed}", family("llama").module, keys=ATTENTION, rank=2, seed=seed)
        got = answer(tmp_path / "cache", "llama", row)["a"]
        same = replace(row, adapter=str(tmp_path / f"same-{seed}"))
        assert (got.tokens, got.cached_tokens) == (alone("llama", same).tokens, 0)


@pytest.mark.parametrize("name", PICTURE_NAMES)
def test_other_pictures_find_what_lies_before_them_and_the_same_ones_all(name: str, tmp_path: Path) -> None:
    row = prompts(name)[2].prompt("a", GREEDY)
    moved = tuple(replace(picture, start=picture.start + 5 * PAGE) for picture in row.pictures)
    row = replace(row, token_ids=(*[5, 6, 7, 8] * (5 * PAGE // 4), *row.token_ids, 9), pictures=moved)
    other = replace(row, pictures=tuple(other_picture(picture) for picture in row.pictures))
    wanted = [drive(open_engine(name, prefix_cache=False), {0: [each]})["a"].tokens for each in (row, other)]
    most = (len(row.token_ids) - 1) // PAGE * PAGE
    before = min(picture.start for picture in row.pictures) // PAGE * PAGE
    assert 5 * PAGE <= before < most
    for found in ((0, before), (most, most)):
        for asked, tokens, cached in zip((row, other), wanted, found, strict=True):
            engine = open_engine(name)
            engine.keep_on_disk(place(tmp_path, name), AlwaysPays())
            got = drive(engine, {0: [asked]})["a"]
            engine.close()
            assert (got.tokens, got.cached_tokens) == (tokens, cached)


@pytest.mark.parametrize("sinks", [0, 4, PAGE + 1])
@pytest.mark.parametrize("name", ["llama", "gpt_oss", "qwen3_next"])
def test_windows_of_the_settings_read_what_they_see_and_the_sinks(name: str, sinks: int, tmp_path: Path) -> None:
    options: dict[str, Any] = {"attention_window": WINDOW, "attention_sinks": sinks, "kv_cache_bytes": 2**25}
    prompt = make_prompt("a", STEM[:70], max_tokens=24)
    wanted = alone(name, prompt, **options).tokens
    for cached in (0, 64):
        got = answer(tmp_path, name, prompt, **options)["a"]
        assert (got.tokens, got.cached_tokens) == (wanted, cached)
    for path in files(tmp_path)[::3]:
        path.unlink()
    with engine_on(tmp_path, name, **options) as engine:  # another length, behind which something is missing perhaps
        longer = make_prompt("b", [*STEM[:70], *wanted[:20], 3], max_tokens=8)
        assert drive(engine, {0: [longer]})["b"].tokens == alone(name, longer, **options).tokens


def test_only_what_the_window_sees_is_read(tmp_path: Path) -> None:
    options: dict[str, Any] = {"attention_window": WINDOW, "attention_sinks": 4}
    prompt = make_prompt("a", STEM[:82], max_tokens=2)
    answer(tmp_path, "llama", prompt, **options)
    with engine_on(tmp_path, "llama", **options) as engine:
        assert drive(engine, {0: [prompt]})["a"].cached_tokens == 80
        assert engine.stats().disk_blocks_read == 1 + -(-WINDOW // PAGE)


@pytest.mark.usefixtures("in_place")
@pytest.mark.parametrize("ahead", ["on", "off"])
@pytest.mark.parametrize("name", ["llama", "gemma3", "qwen3_next", "deepseek_v2"])
def test_kernels_that_write_in_place_change_nothing_of_what_is_kept(name: str, ahead: str, tmp_path: Path) -> None:
    """Little memory: pages that are being copied are soon given to other rows, whose passes are queued behind."""
    with engine_on(tmp_path, name) as engine:
        budget = 34 * engine.page_bytes
    options: dict[str, Any] = {"kernels": "on", "launch_ahead": ahead, "compile": "off"}
    rows = [make_prompt(str(number), [number, *STEM[: 40 + 9 * number]], max_tokens=12 + number) for number in range(5)]
    read = 0
    for _ in range(3):
        with engine_on(tmp_path, name, ROOM, kv_cache_bytes=budget, **options) as engine:
            got = drive(engine, {0: rows[:2], 3: rows[2:4], 9: rows[4:]})
            read += engine.stats().disk_blocks_read
        assert {row.id: got[row.id].tokens for row in rows} == {row.id: alone(name, row).tokens for row in rows}
    assert read > 0
    for row in rows:  # what lies on disk is right for an engine without kernels, too
        assert answer(tmp_path, name, row)[row.id].tokens == alone(name, row).tokens


@pytest.mark.usefixtures("in_place")
def test_pages_are_put_where_kernels_read_them_while_other_rows_run(tmp_path: Path) -> None:
    options: dict[str, Any] = {"kernels": "on", "launch_ahead": "on", "compile": "off"}
    known, new = make_prompt("known", STEM[:70], max_tokens=20), make_prompt("new", [5, *STEM[:30]], max_tokens=60)
    answer(tmp_path, "llama", known, **options)
    with engine_on(tmp_path, "llama", ROOM, **options) as engine:
        got = drive(engine, {0: [new], 6: [known]})
    assert got["known"].cached_tokens == 64
    assert [got[row.id].tokens for row in (known, new)] == [alone("llama", row).tokens for row in (known, new)]
