"""One cache for Hugging Face's tools and for Pomona, and for processes that pull the same at the same time."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from huggingface_hub import scan_cache_dir

from pomona.models.hub_cache import find_snapshot
from tests.hub.conftest import STORIES, Bench
from tests.hub.server import FakeHub

WEIGHTS = "model.safetensors"
SECONDS = 60


def test_what_the_library_downloaded_is_found_and_not_fetched_again(bench: Bench, tmp_path: Path) -> None:
    run(["-m", "huggingface_hub.cli.hf", "download", "acme/tiny"], bench.hub, tmp_path)
    assert find_snapshot("acme/tiny", None, bench.cache) == bench.snapshot()
    bench.hub.asked.clear()
    assert bench.pull() == "acme/tiny"
    assert bench.hub.downloads(WEIGHTS) == []


def test_what_was_pulled_is_found_by_the_library(bench: Bench, tmp_path: Path) -> None:
    bench.pull()
    bench.hub.asked.clear()
    code = (
        "from huggingface_hub import snapshot_download as get; "
        "print(get('acme/tiny', allow_patterns=['*.json', '*.safetensors'], local_files_only=True)); get('acme/tiny')"
    )
    assert run(["-c", code], bench.hub, tmp_path).strip() == str(bench.snapshot())
    assert bench.hub.downloads(WEIGHTS) == []  # online it gets the rest, such as the card, and nothing twice
    (repo,) = scan_cache_dir(bench.cache).repos
    assert (repo.repo_id, len(repo.revisions)) == ("acme/tiny", 1)


def test_a_killed_pull_goes_on_where_it_stopped(bench: Bench, tmp_path: Path) -> None:
    bench.hub.hold[WEIGHTS] = 300_000
    child = start(["-m", "pomona", "pull", "acme/tiny"], bench.hub, tmp_path)
    assert bench.hub.held.wait(SECONDS)
    wait_for_size(bench.partial(WEIGHTS), 300_000, child)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert bench.partial(WEIGHTS).stat().st_size == 300_000
    bench.hub.go.set()
    bench.hub.asked.clear()
    run(["-m", "pomona", "pull", "acme/tiny"], bench.hub, tmp_path)
    assert [asked.range for asked in bench.hub.downloads(WEIGHTS)] == ["bytes=300000-"]
    assert (bench.snapshot() / WEIGHTS).read_bytes() == (STORIES / WEIGHTS).read_bytes()


def test_an_interrupted_pull_says_how_to_go_on(bench: Bench, tmp_path: Path) -> None:
    bench.hub.hold[WEIGHTS] = 100_000
    child = start(["-m", "pomona", "pull", "acme/tiny"], bench.hub, tmp_path)
    assert bench.hub.held.wait(SECONDS)
    child.send_signal(signal.SIGINT)
    _, told = child.communicate(timeout=SECONDS)
    assert child.returncode == 130
    assert "`pomona pull acme/tiny` goes on from there" in told
    assert "Traceback" not in told


def test_two_processes_that_pull_the_same_take_turns(bench: Bench, tmp_path: Path) -> None:
    bench.hub.hold[WEIGHTS] = 200_000
    children = [start(["-m", "pomona", "pull", "acme/tiny"], bench.hub, tmp_path) for _ in range(2)]
    assert bench.hub.held.wait(SECONDS)
    bench.hub.go.set()
    for child in children:
        _, told = child.communicate(timeout=SECONDS)
        assert child.returncode == 0, told
    assert len(bench.hub.downloads(WEIGHTS)) == 1
    assert (bench.snapshot() / WEIGHTS).read_bytes() == (STORIES / WEIGHTS).read_bytes()
    assert not list(bench.cache.rglob("*.incomplete"))


def test_a_token_file_of_the_library_is_used(bench: Bench, tmp_path: Path) -> None:
    bench.hub.repos["acme/tiny"].token = "hf_from_file"
    (tmp_path / "token").write_text("hf_from_file")
    bench.pull()
    assert (bench.snapshot() / WEIGHTS).is_file()


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "POMONA_HUB__OFFLINE"])
def test_the_offline_switches(bench: Bench, tmp_path: Path, variable: str) -> None:
    child = start(["-m", "pomona", "pull", "acme/tiny"], bench.hub, tmp_path, **{variable: "1"})
    _, told = child.communicate(timeout=SECONDS)
    assert child.returncode == 69
    assert "offline" in told
    assert bench.hub.asked == []


def start(arguments: Sequence[str], hub: FakeHub, folder: Path, **more: str) -> "subprocess.Popen[str]":
    """Python in a process of its own, with an empty home and the hub of the test."""
    places = {"HF_HOME": str(folder / "hf"), "HF_HUB_CACHE": str(folder / "cache"), "XDG_DATA_HOME": str(folder / "data")}
    own = {"HOME": str(folder), "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", **places, **more}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *arguments], env={**os.environ, **own}, cwd=folder, stdout=pipe, stderr=pipe, text=True)


def run(arguments: Sequence[str], hub: FakeHub, folder: Path, **more: str) -> str:
    """What it printed; it must succeed."""
    child = start(arguments, hub, folder, **more)
    said, told = child.communicate(timeout=SECONDS)
    assert child.returncode == 0, told
    return said


def wait_for_size(path: Path, size: int, child: "subprocess.Popen[str]") -> None:
    """Until the child has written that much."""
    while child.poll() is None and (not path.exists() or path.stat().st_size < size):
        pass
