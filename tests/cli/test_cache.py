"""`cache:show` and `cache:clear`."""

import json
import os
import time
from pathlib import Path

import click
import pytest

from pomona.cli import root
from pomona.cli.models.beginnings import clear_cache, complete_kept
from pomona.engine.cache.disk.form import FileForm, Tensor
from pomona.engine.cache.disk.store import DiskStore
from tests.cli.conftest import Pomona, PomonaProcess

TENSORS = [Tensor("pages.0", "F32", (2, 1000))]
A, B, C, D = (letter * 32 for letter in "abcd")
"""Versions."""


def keep(home: Path, version: str, model: str, names: str, *, seconds_ago: float = 0.0) -> DiskStore:
    """Files as an engine writes them."""
    store = DiskStore(home / "cache" / "pomona", version, 10**7, {"title": model})
    store.open()
    for name in (f"{letter * 32}.pages0" for letter in names):
        form = FileForm(TENSORS, version)
        store.write(name, form, [memoryview(bytes(form.data_bytes))])
        used_at = time.time() - seconds_ago
        os.utime(home / "cache" / "pomona" / "engines" / version / f"{name}.safetensors", (used_at, used_at))
    return store


@pytest.fixture
def kept(home: Path) -> Path:
    """Two versions of one model, one of another; a file half written; and the folder of all."""
    keep(home, A, "acme/reader", "ab", seconds_ago=7300)
    keep(home, B, "acme/reader", "c", seconds_ago=10)
    keep(home, C, "pomona-tiny", "d", seconds_ago=400)
    engines = home / "cache" / "pomona" / "engines"
    (engines / A / ".half-1-0").write_bytes(b"half")
    return engines


def test_nothing_is_kept_at_first(pomona: Pomona) -> None:
    shown = json.loads(pomona("cache:show", "--json").stdout)
    assert (shown["files"], shown["bytes"], shown["models"]) == (0, 0, [])
    assert shown["limit_bytes"] == 2**32
    assert pomona("cache:show").stdout.startswith("0 B of ")
    assert pomona("cache:clear", "--yes").stdout == "Freed 0 B in 0 files.\n"


def test_files_bytes_and_use_by_model(pomona: Pomona, kept: Path) -> None:
    shown = json.loads(pomona("cache:show", "--json").stdout)
    reader, tiny = shown["models"]
    assert [reader[key] for key in ("model", "files", "versions")] == ["acme/reader", 3, 2]
    assert reader["bytes"] == sum(path.stat().st_size for version in (A, B) for path in (kept / version).glob("*.safetensors"))
    assert reader["last_use"] - reader["oldest_use"] == pytest.approx(7290, abs=5)
    assert (tiny["model"], tiny["files"], shown["files"], shown["folder"]) == ("pomona-tiny", 1, 4, str(kept))
    assert shown["bytes"] == reader["bytes"] + tiny["bytes"]
    text = pomona("cache:show", "--set", "engine.disk_cache_bytes=100000").stdout
    assert [line.split()[:2] for line in text.splitlines()[1:3]] == [["acme/reader", "3"], ["pomona-tiny", "1"]]
    assert "2 h ago" in text
    assert "6 min ago" in text
    assert " of 97.7 KiB" in text
    assert "nothing is written" in pomona("cache:show", "--set", "engine.disk_cache_bytes=0").stdout


def test_one_model_or_all_are_deleted(pomona: Pomona, kept: Path) -> None:
    cleared = json.loads(pomona("cache:clear", "acme/reader", "--yes", "--json").stdout)
    assert (cleared["models"], cleared["files"]) == (["acme/reader"], 3)
    assert sorted(path.name for path in kept.iterdir() if path.is_dir()) == [C]
    assert pomona("cache:clear", "-y").stdout.endswith(" in 1 files.\n")
    assert [path for path in kept.iterdir() if path.is_dir()] == []


def test_a_model_has_several_names(pomona: Pomona, home: Path, kept: Path) -> None:
    """It was loaded as `pomona-tiny` and, with other settings, as `small`."""
    assert pomona("alias", "small", "pomona-tiny").exit_code == 0
    assert pomona("alias", "tiny", "pomona-tiny").exit_code == 0
    keep(home, D, "small", "e")
    assert json.loads(pomona("cache:clear", "tiny", "--yes", "--json").stdout)["models"] == ["pomona-tiny", "small"]
    assert sorted(path.name for path in kept.iterdir() if path.is_dir()) == [A, B]


def test_what_cannot_be_done_is_said(pomona: Pomona, kept: Path) -> None:
    unknown = pomona("cache:clear", "nobody", "--yes")
    assert (unknown.exit_code, unknown.stderr.splitlines()[0]) == (
        66,
        "error: Nothing of 'nobody' is on disk. There is something of: acme/reader, pomona-tiny.",
    )
    unasked = pomona("cache:clear")
    assert unasked.exit_code == 2
    assert "--yes" in unasked.stderr
    assert len(list(kept.rglob("*.safetensors"))) == 4


def test_a_folder_that_does_not_say_whose_it_is_can_be_deleted(pomona: Pomona, kept: Path) -> None:
    (kept / C / "manifest.json").write_text("[3", encoding="utf-8")
    assert json.loads(pomona("cache:show", "--json").stdout)["models"][1]["model"] is None
    assert pomona("cache:clear", "(unknown)", "--yes").exit_code == 0
    assert not (kept / C).exists()


def test_a_place_that_is_no_folder_gets_one_line(pomona: Pomona, home: Path) -> None:
    (home / "cache" / "pomona").mkdir(parents=True)
    (home / "cache" / "pomona" / "engines").write_text("a file", encoding="utf-8")
    for command in (("cache:show",), ("cache:clear", "--yes")):
        result = pomona(*command)
        assert (result.exit_code, result.stderr.count("\n")) == (74, 1)


def test_neither_needs_mlx(pomona_process: PomonaProcess, kept: Path) -> None:
    for command in ("cache:show", "cache:clear"):
        result = pomona_process(command, *(["--yes"] if command == "cache:clear" else []), environment={"PYTHONPROFILEIMPORTTIME": "1"})
        imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in result.stderr.splitlines()}
        assert result.returncode == 0
        assert "pomona" in imported
        assert imported.isdisjoint({"mlx", "numpy", "transformers"})
    assert not (kept / C).exists()


@pytest.mark.usefixtures("kept")
def test_completion_knows_what_is_kept() -> None:
    parameter = next(each for each in clear_cache.params if each.name == "model")
    found = complete_kept(click.Context(root), parameter, "ac")
    assert [(item.value, item.help) for item in found] == [("acme/reader", "24.0 KiB")]
