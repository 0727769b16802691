"""The bound, the order of going, disks that take nothing, and several processes on one folder."""

import errno
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pomona.engine.cache.disk.form import FileForm, Tensor
from pomona.engine.cache.disk.store import LEAST_ON_DISK, DiskStore
from pomona.engine.engine import Engine
from tests.engine.disk.engines import STEM, answer, engine_on, files
from tests.engine.harness import alone, drive, make_prompt

FORM = FileForm([Tensor("pages.0", "F32", (2, 1000))], "v")
DATA = np.arange(FORM.data_bytes).astype(np.uint8).data


def store_in(folder: Path, version: str = "v", limit_bytes: int = 10**6) -> DiskStore:
    store = DiskStore(folder, version, limit_bytes, {"title": version})
    store.open()
    return store


def age(folder: Path, name: str, seconds: float) -> None:
    [path] = [path for path in files(folder) if path.name.startswith(f"{name}.")]
    used_at = time.time() - seconds
    os.utime(path, (used_at, used_at))


def names(folder: Path) -> set[str]:
    return {path.name.removesuffix(".safetensors") for path in files(folder)}


def test_what_was_used_longest_ago_goes_first_whatever_its_model(tmp_path: Path) -> None:
    one, two = store_in(tmp_path, "v", 60_000), store_in(tmp_path, "w", 60_000)
    for number in range(4):
        one.write(f"a{number}", FORM, [DATA])
        two.write(f"b{number}", FORM, [DATA])
        age(tmp_path, f"a{number}", 100 - number)
        age(tmp_path, f"b{number}", 200 - number)
    one.touch(["a0"])
    assert two.read("b1", FileForm(FORM.tensors, "v"), np.empty(FORM.data_bytes, np.uint8))
    assert store_in(tmp_path, "v", 60_000).make_room() == set()
    gone = store_in(tmp_path, "w", 30_000)
    assert names(tmp_path) == {"a0", "b1", "a3"}
    assert gone.make_room() == set()


def test_a_store_that_writes_keeps_to_its_bound(tmp_path: Path) -> None:
    store = store_in(tmp_path, limit_bytes=100_000)
    for number in range(50):
        store.write(f"n{number}", FORM, [DATA])
        age(tmp_path, f"n{number}", 1000 - number)
        store.make_room()
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 100_000
    assert "n49" in names(tmp_path)
    assert "n0" not in names(tmp_path)


def test_small_files_count_as_what_they_take(tmp_path: Path) -> None:
    assert store_in(tmp_path).write("small", FileForm([Tensor("t", "U8", (3,))], "v"), [memoryview(b"abc")]) == LEAST_ON_DISK


def test_an_engine_keeps_to_the_bound(tmp_path: Path) -> None:
    with engine_on(tmp_path, "llama", 100_000) as engine:
        for number in range(6):
            drive(engine, {0: [make_prompt("a", [number, *STEM[:70]], max_tokens=2)]})
    assert 0 < sum(path.stat().st_size for path in files(tmp_path)) <= 100_000


class Warnings:
    """A log."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def warning(self, event: str, **_: object) -> None:
        self.events.append(event)

    def debug(self, event: str, **_: object) -> None:
        del event


class FullDisk(DiskStore):
    """Takes so many files, then none."""

    room = 3

    def write(self, name: str, form: FileForm, parts: Sequence[memoryview]) -> int:
        FullDisk.room -= 1
        if FullDisk.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(name, form, parts)


def test_a_full_disk_ends_the_writing_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings = Warnings()
    monkeypatch.setattr("pomona.engine.cache.disk.threads.log", warnings)
    monkeypatch.setattr("pomona.engine.cache.disk.opening.DiskStore", FullDisk)
    rows = [make_prompt(str(number), [number, *STEM[:70]], max_tokens=6) for number in range(3)]
    with engine_on(tmp_path, "llama") as engine:
        got = [drive(engine, {0: [row]})[row.id] for row in rows]
    stats = engine.stats()  # what was asked for has been tried by now
    assert [each.tokens for each in got] == [alone("llama", row).tokens for row in rows]
    assert stats.disk_files <= 3
    assert len(files(tmp_path)) == 3
    assert warnings.events.count("disk_cache_not_written") == 1


def test_a_folder_that_cannot_be_used_leaves_an_engine_without_a_disk(tmp_path: Path) -> None:
    (tmp_path / "engines").write_text("a file")
    prompt = make_prompt("a", STEM[:70])
    got = answer(tmp_path, "llama", prompt)["a"]
    assert (got.tokens, got.cached_tokens) == (alone("llama", prompt).tokens, 0)


def test_two_engines_share_a_folder_while_both_run(tmp_path: Path) -> None:
    prompt = make_prompt("a", STEM[:70], max_tokens=4)
    with engine_on(tmp_path, "llama") as one, engine_on(tmp_path, "llama") as two:
        drive(one, {0: [prompt]})
        until_written(tmp_path, 9, one)
        assert drive(two, {0: [prompt]})["a"].cached_tokens == 64
        both = [make_prompt("b", [9, *STEM[:60]], max_tokens=4)] * 2
        got = [drive(engine, {0: [row]})["b"].tokens for engine, row in zip((one, two), both, strict=True)]
    assert got == [alone("llama", both[0]).tokens] * 2


def test_clearing_forgets_files_as_well_only_if_asked(tmp_path: Path) -> None:
    prompt = make_prompt("a", STEM[:70], max_tokens=4)
    with engine_on(tmp_path, "llama") as engine:
        drive(engine, {0: [prompt]})
        until_written(tmp_path, 9, engine)
        engine.shrink()
        assert drive(engine, {0: [prompt]})["a"].cached_tokens == 64
        engine.shrink(disk=True)
        until_written(tmp_path, 0, engine)
        assert drive(engine, {0: [prompt]})["a"].cached_tokens == 0
    assert answer(tmp_path, "llama", prompt)["a"].cached_tokens == 64


def until_written(folder: Path, count: int, engine: Engine) -> None:
    """Another thread writes, or deletes all; the engine hands it no more than it has taken."""
    until = time.monotonic() + 60
    while len(files(folder)) < count or (not count and files(folder)):
        assert time.monotonic() < until
        if engine.has_work:
            engine.step()
        time.sleep(0.005)
