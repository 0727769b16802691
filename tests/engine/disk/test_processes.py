"""Processes that die in the middle of a file, and processes that use one folder at a time."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pomona.engine.cache.disk.folders import HALF, delete_folders, kept_models
from pomona.engine.cache.disk.form import FileForm, Tensor
from pomona.engine.cache.disk.store import DiskStore
from tests.engine.disk.child import PROMPT
from tests.engine.disk.engines import answer, engine_on, files
from tests.engine.harness import alone, drive, make_prompt

ROOT = Path(__file__).parents[3]
PATIENCE_SECONDS = 120


def start(folder: Path, task: str, count: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.engine.disk.child", str(folder), task, str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def halves(folder: Path) -> list[Path]:
    return list(folder.rglob(f"{HALF}*"))


@pytest.mark.parametrize(("task", "whole", "half"), [("die-before", 4, 1), ("die-after", 5, 0)])
def test_a_process_that_is_killed_around_the_move_leaves_whole_files_or_none(task: str, whole: int, half: int, tmp_path: Path) -> None:
    """In the move of the fifth file: four or five blocks are there, and what is half there has no name that anybody looks for."""
    with start(tmp_path, task, 5) as process:
        process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == -signal.SIGKILL
    assert (len(files(tmp_path)), len(halves(tmp_path))) == (whole, half)
    got = answer(tmp_path, "llama", PROMPT)["a"]
    assert (got.tokens, got.cached_tokens) == (alone("llama", PROMPT).tokens, 8 * whole)
    assert halves(tmp_path) == []
    again = answer(tmp_path, "llama", PROMPT)["a"]
    assert (again.tokens, again.cached_tokens) == (got.tokens, 64)


def test_processes_that_write_read_and_delete_in_one_folder_answer_as_ever(tmp_path: Path) -> None:
    """Two engines after the other in each of two processes, with a bound so small that all delete; and somebody clears it all meanwhile."""
    others = [start(tmp_path, "serve", seed) for seed in (1, 2)]
    cleared = 0
    while any(other.poll() is None for other in others):
        with engine_on(tmp_path, "llama") as engine:
            assert drive(engine, {0: [PROMPT]})["a"].tokens == alone("llama", PROMPT).tokens
            folders = [folder for kept in kept_models(tmp_path) for folder in kept.folders]
            delete_folders(folders)
            cleared += len(folders)
    for other in others:
        assert other.communicate(timeout=PATIENCE_SECONDS)[1].decode() == ""
        assert other.returncode == 0
    assert cleared > 0
    assert answer(tmp_path, "llama", PROMPT)["a"].tokens == alone("llama", PROMPT).tokens
    assert answer(tmp_path, "llama", PROMPT)["a"].cached_tokens == 64
    assert halves(tmp_path) == []


def test_an_engine_whose_files_somebody_deletes_writes_them_again(tmp_path: Path) -> None:
    other = make_prompt("b", [3, *PROMPT.token_ids], max_tokens=4)
    with engine_on(tmp_path, "llama") as engine:
        drive(engine, {0: [PROMPT]})
        [kept] = kept_models(tmp_path)
        assert kept.model == "llama"
        delete_folders(kept.folders)
        drive(engine, {0: [other]})
    assert answer(tmp_path, "llama", other)["b"].cached_tokens == 64
    assert kept_models(tmp_path)[0].model == "llama"


class LateStore(DiskStore):
    """Whose folder is deleted, and made again by another process, while it writes a file."""

    late = 0

    def move(self, half: Path, path: Path) -> None:
        LateStore.late += 1
        if LateStore.late == 1:
            delete_folders([half.parent])
            half.parent.mkdir()
        super().move(half, path)


def test_a_file_that_lost_its_folder_on_the_way_is_written_into_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pomona.engine.cache.disk.opening.DiskStore", LateStore)
    answer(tmp_path, "llama", PROMPT)
    assert LateStore.late > 1
    assert answer(tmp_path, "llama", PROMPT)["a"].cached_tokens == 64


class SweptStore(DiskStore):
    """Another one of this process sweeps its folder while it writes."""

    def move(self, half: Path, path: Path) -> None:
        DiskStore(half.parent.parent.parent, half.parent.name, 10**6, {}).open()
        super().move(half, path)


def test_what_this_process_is_writing_is_not_swept_away(tmp_path: Path) -> None:
    store = SweptStore(tmp_path, "a" * 32, 10**6, {})
    store.open()
    store.write(f"{1:032x}.pages0", FileForm([Tensor("t", "U8", (3,))], "a" * 32), [memoryview(b"abc")])
    assert len(files(tmp_path)) == 1


def test_what_an_engine_before_left_whose_process_had_the_same_id_is_swept_away(tmp_path: Path) -> None:
    """As in containers, where the numbers are the same after each start."""
    left = [tmp_path / "engines" / ("a" * 32) / f"{HALF}{os.getpid()}-{rest}" for rest in ("0", "0123abcd-0")]
    left[0].parent.mkdir(parents=True)
    for half in left:
        half.write_bytes(b"half")
    store = DiskStore(tmp_path, "a" * 32, 10**6, {})
    store.open()
    assert halves(tmp_path) == []
    store.write(f"{1:032x}.pages0", FileForm([Tensor("t", "U8", (3,))], "a" * 32), [memoryview(b"abc")])
    assert len(files(tmp_path)) == 1
