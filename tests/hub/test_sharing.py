"""One cache for Hugging Face's tools and for Pomona, and for processes that pull the same at the same time."""

import signal
from pathlib import Path

from huggingface_hub import scan_cache_dir

from pomona.models.hub_cache import find_snapshot
from tests.hub.conftest import STORIES, Bench
from tests.hub.processes import SECONDS, run, started, wait_for_size

WEIGHTS = "model.safetensors"
PULL = ["-m", "pomona", "pull", "acme/tiny"]


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
    with started(PULL, bench.hub, tmp_path) as child:
        wait_for_size(bench.partial(WEIGHTS), 300_000, child)
        child.send_signal(signal.SIGKILL)
    assert bench.partial(WEIGHTS).stat().st_size == 300_000
    bench.hub.go.set()
    bench.hub.asked.clear()
    bench.pull()
    assert [asked.range for asked in bench.hub.downloads(WEIGHTS)] == ["bytes=300000-"]
    assert (bench.snapshot() / WEIGHTS).read_bytes() == (STORIES / WEIGHTS).read_bytes()


def test_two_processes_that_pull_the_same_take_turns(bench: Bench, tmp_path: Path) -> None:
    bench.hub.hold[WEIGHTS] = 200_000
    with started(PULL, bench.hub, tmp_path) as one, started(PULL, bench.hub, tmp_path) as other:
        assert bench.hub.held.wait(SECONDS)
        bench.hub.go.set()
        for child in (one, other):
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


def test_the_offline_switches(bench: Bench, tmp_path: Path) -> None:
    with (
        started(PULL, bench.hub, tmp_path, HF_HUB_OFFLINE="1") as one,
        started(PULL, bench.hub, tmp_path, POMONA_HUB__OFFLINE="1") as other,
    ):
        for child in (one, other):
            _, told = child.communicate(timeout=SECONDS)
            assert (child.returncode, "offline" in told) == (69, True), told
    assert bench.hub.asked == []
