"""The bound, the order of going, disks that take nothing, and several processes on one folder."""

import errno
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pomona.engine.cache.disk.folders import kept_models
from pomona.engine.cache.disk.form import FileForm, Tensor
from pomona.engine.cache.disk.store import LEAST_ON_DISK, DiskStore
from pomona.engine.engine import Engine
from tests.engine.disk.engines import STEM, answer, engine_on, files
from tests.engine.harness import alone, drive, make_prompt

V, W = "a" * 32, "b" * 32
FORM = FileForm([Tensor("pages.0", "F32", (2, 1000))], V)
DATA = np.arange(FORM.data_bytes).astype(np.uint8).data


def store_in(folder: Path, version: str = V, limit_bytes: int = 10**6) -> DiskStore:
    store = DiskStore(folder, version, limit_bytes, {"title": version})
    store.open()
    return store


def name(number: int) -> str:
    """Of a file, as engines name them."""
    return f"{number:032x}.pages0"


def age(folder: Path, number: int, seconds: float) -> None:
    [path] = [path for path in files(folder) if path.name.startswith(name(number))]
    used_at = time.time() - seconds
    os.utime(path, (used_at, used_at))


def numbers(folder: Path) -> set[int]:
    return {int(path.name.partition(".")[0], 16) for path in files(folder)}


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in files(folder))


def test_what_was_used_longest_ago_goes_first_whatever_its_model(tmp_path: Path) -> None:
    one, two = store_in(tmp_path, V, 70_000), store_in(tmp_path, W, 70_000)
    for number in range(4):
        one.write(name(number), FORM, [DATA])
        two.write(name(10 + number), FORM, [DATA])
        age(tmp_path, number, 100 - number)
        age(tmp_path, 10 + number, 200 - number)
    one.touch([name(0)])
    two.touch([name(11)])
    assert store_in(tmp_path, V, 70_000).make_room() == set()
    gone = store_in(tmp_path, W, 30_000)
    assert numbers(tmp_path) == {0, 11, 3}
    assert gone.make_room() == set()


def test_of_a_beginning_that_is_used_the_first_blocks_stay(tmp_path: Path) -> None:
    """The others are of no use without them."""
    prompt = make_prompt("a", STEM[:70], max_tokens=2)
    answer(tmp_path, "llama", prompt)
    assert answer(tmp_path, "llama", prompt)["a"].cached_tokens == 64
    store_in(tmp_path, limit_bytes=bytes_in(tmp_path) // 2)
    left = len(files(tmp_path))
    assert 0 < left < 6
    assert answer(tmp_path, "llama", prompt)["a"].cached_tokens == 8 * left


def test_a_store_that_writes_keeps_to_its_bound(tmp_path: Path) -> None:
    store = store_in(tmp_path, limit_bytes=100_000)
    for number in range(50):
        store.write(name(number), FORM, [DATA])
        age(tmp_path, number, 1000 - number)
        store.make_room()
    assert bytes_in(tmp_path) <= 100_000
    assert 49 in numbers(tmp_path)
    assert 0 not in numbers(tmp_path)


def test_stores_of_several_engines_keep_to_one_bound(tmp_path: Path) -> None:
    stores = [store_in(tmp_path, V, 10**6), store_in(tmp_path, V, 10**6), store_in(tmp_path, W, 10**6)]
    most = 0
    for number in range(360):
        stores[number % 3].write(name(number), FORM, [DATA])
        stores[number % 3].make_room()
        most = max(most, bytes_in(tmp_path) if number % 9 == 0 else 0)
    assert 800_000 < most < 1_200_000


def test_what_a_wrong_clock_dated_ahead_does_not_push_out_what_is_new(tmp_path: Path) -> None:
    store = store_in(tmp_path, limit_bytes=100_000)
    for number in range(50):
        store.write(name(number), FORM, [DATA])
        age(tmp_path, number, -(10**8) if number < 12 else 1000 - number)
        store.make_room()
    assert min(numbers(tmp_path)) > 12
    assert 49 in numbers(tmp_path)


def test_what_is_not_ours_is_neither_counted_nor_deleted(tmp_path: Path) -> None:
    store_in(tmp_path)
    root = tmp_path / "engines"
    weights, elsewhere = root / "a-model" / "model.safetensors", tmp_path / "elsewhere"
    own, linked = root / V / "notes.safetensors", root / V / f"{name(1)}.safetensors"
    folder = root / V / f"{name(2)}.safetensors"
    for path in (weights, own, elsewhere / f"{name(3)}.safetensors"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(50_000))
    (root / W).symlink_to(elsewhere)
    linked.symlink_to(weights)
    folder.mkdir()
    store = store_in(tmp_path, limit_bytes=20_000)
    for number in range(4, 8):
        store.write(name(number), FORM, [DATA])
        store.make_room()
    assert all(path.exists() for path in (weights, own, linked, folder, elsewhere / f"{name(3)}.safetensors"))
    own.unlink()
    assert numbers(root / V) == {1, 2, 6, 7}
    [kept] = kept_models(tmp_path)
    assert (kept.folders, kept.files) == ((root / V,), 2)


def test_a_link_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    """What is written behind it would be bounded by nobody."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines" / V).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotADirectoryError, match="is a link"):
        store_in(tmp_path)


def test_only_its_owner_can_read_what_is_kept(tmp_path: Path) -> None:
    """They are prompts, after all."""
    before = os.umask(0)
    try:
        store_in(tmp_path).write(name(0), FORM, [DATA])
    finally:
        os.umask(before)
    folder = tmp_path / "engines" / V
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    os.mkfifo(tmp_path / "engines" / V / f"{name(0)}.safetensors")
    assert not store.read(name(0), FORM, np.empty(FORM.data_bytes, np.uint8))
    assert store.write(name(0), FORM, [DATA])
    assert store.read(name(0), FORM, np.empty(FORM.data_bytes, np.uint8))


def test_a_disk_that_is_full_of_ours_gets_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others have filled the disk; what is ours is more than the quarter that it may be."""
    monkeypatch.setattr("pomona.engine.cache.disk.opening.DiskStore", FullDisk)
    monkeypatch.setattr("pomona.engine.cache.disk.threads.log", Warnings())
    monkeypatch.setattr(FullDisk, "room", 9)
    with engine_on(tmp_path, "llama") as engine:
        drive(engine, {0: [make_prompt("a", STEM[:70], max_tokens=4)]})
        until_written(tmp_path, 9, engine)
        free = shutil.disk_usage(tmp_path)._replace(free=0)
        monkeypatch.setattr("pomona.engine.cache.disk.folders.shutil.disk_usage", {tmp_path / "engines": free}.__getitem__)
        drive(engine, {0: [make_prompt("b", [5, *STEM[:90]], max_tokens=2)]})
    assert 1 <= len(files(tmp_path)) <= 3


def test_small_files_count_as_what_they_take(tmp_path: Path) -> None:
    assert store_in(tmp_path).write(name(0), FileForm([Tensor("t", "U8", (3,))], V), [memoryview(b"abc")]) == LEAST_ON_DISK


def test_an_engine_keeps_to_the_bound(tmp_path: Path) -> None:
    with engine_on(tmp_path, "llama", 100_000) as engine:
        for number in range(6):
            drive(engine, {0: [make_prompt("a", [number, *STEM[:70]], max_tokens=2)]})
    assert 0 < bytes_in(tmp_path) <= 100_000


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
