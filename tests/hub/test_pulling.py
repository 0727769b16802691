"""Downloads: what arrives, what is asked for, and what happens when the way breaks."""

import json
from pathlib import Path

import pytest

from pomona.core.errors import Conflict, DoesNotFit, Forbidden, HubFailed, InvalidRequest, ModelNotFound, ModelUnusable
from pomona.core.settings import ModelsSettings
from pomona.hub.fitting import Machine
from pomona.models.catalog import list_models
from pomona.models.hub_cache import find_snapshot
from tests.hub.conftest import STORIES, Bench

WEIGHTS = "model.safetensors"


def test_a_model_arrives_whole_and_is_found(bench: Bench) -> None:
    assert bench.pull() == "acme/tiny"
    snapshot = bench.snapshot()
    assert find_snapshot("acme/tiny", None, bench.cache) == snapshot
    for path in snapshot.iterdir():
        assert path.is_symlink()
        assert path.read_bytes() == (STORIES / path.name).read_bytes()
    assert {"config.json", WEIGHTS, "tokenizer.json"} <= {path.name for path in snapshot.iterdir()}
    last = bench.progress[-1]
    assert (last.state, last.done) == ("downloading", last.total)


def test_only_what_is_needed_is_asked_for(bench: Bench) -> None:
    bench.hub.repos["acme/tiny"].files |= {"pytorch_model.bin": b"x" * 9000, "README.md": b"read me", "onnx/model.onnx": b"y" * 9000}
    bench.pull()
    got = {asked.path.rpartition("/")[2] for asked in bench.hub.asked if asked.method == "GET" and "/api/" not in asked.path}
    assert got == {"config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json"}


def test_what_is_here_is_not_fetched_again(bench: Bench) -> None:
    bench.pull()
    bench.hub.asked.clear()
    bench.pull()
    assert [asked.path for asked in bench.hub.asked if "/cdn/" in asked.path] == []


def test_a_new_commit_fetches_only_what_changed(bench: Bench) -> None:
    bench.pull()
    repo = bench.hub.repos["acme/tiny"]
    repo.commit, repo.files = "b" * 40, {**repo.files, "generation_config.json": b"{}"}
    bench.hub.asked.clear()
    bench.pull()
    assert find_snapshot("acme/tiny", None, bench.cache) == bench.snapshot(commit="b" * 40)
    assert [asked.path for asked in bench.hub.asked if "/cdn/" in asked.path] == []
    assert (bench.snapshot() / "config.json").is_file()  # the older commit stays for whoever has it loaded


def test_a_revision_is_pinned(bench: Bench) -> None:
    bench.hub.repos["acme/tiny"].revisions = ("main", "v1.0")
    assert bench.pull("acme/tiny@v1.0") == "acme/tiny@v1.0"
    assert find_snapshot("acme/tiny", "v1.0", bench.cache) == bench.snapshot()
    assert find_snapshot("acme/tiny", None, bench.cache) is None
    with pytest.raises(ModelNotFound, match="'acme/tiny' has no revision 'v9'"):
        bench.pull("acme/tiny@v9")


def test_a_broken_connection_is_taken_up_where_it_stopped(bench: Bench) -> None:
    size = len(bench.hub.repos["acme/tiny"].files[WEIGHTS])
    bench.hub.cuts[WEIGHTS] = [100_000, 50_000]
    bench.pull()
    ranges = [asked.range for asked in bench.hub.asked if asked.path.startswith("/cdn/") and asked.path.endswith(WEIGHTS)]
    assert ranges == [None, "bytes=100000-", "bytes=150000-"]
    assert (bench.snapshot() / WEIGHTS).stat().st_size == size
    assert bench.waits == [0.5, 1.0]


def test_a_server_that_ignores_ranges_begins_anew(bench: Bench) -> None:
    bench.hub.cuts[WEIGHTS], bench.hub.ignores_ranges = [100_000], True
    bench.pull()
    assert (bench.snapshot() / WEIGHTS).read_bytes() == (STORIES / WEIGHTS).read_bytes()


def test_retries_end_and_what_came_is_kept_for_the_next_pull(bench: Bench) -> None:
    bench.hub.cuts[WEIGHTS] = [1000] * 4
    with pytest.raises(HubFailed, match="cannot be reached"):
        bench.pull()
    assert bench.waits == [0.5, 1.0, 2.0]
    bench.hub.asked.clear()
    bench.pull()
    assert [asked.range for asked in bench.hub.downloads(WEIGHTS)] == ["bytes=4000-"]


def test_a_wrong_byte_is_noticed_and_the_file_fetched_once_more(bench: Bench) -> None:
    bench.hub.damage[WEIGHTS] = 1
    bench.pull()
    assert (bench.snapshot() / WEIGHTS).read_bytes() == (STORIES / WEIGHTS).read_bytes()


@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
def test_a_file_that_stays_wrong_is_refused(bench: Bench, name: str) -> None:
    bench.hub.damage[name] = 9
    with pytest.raises(HubFailed, match=f"'{name}' of 'acme/tiny' came with a wrong checksum twice"):
        bench.pull()
    assert not (bench.snapshot() / name).exists()
    assert not bench.partial(name).exists()


def test_a_partial_file_with_a_wrong_beginning_heals(bench: Bench) -> None:
    bench.hub.cuts[WEIGHTS] = [1000] * 4
    with pytest.raises(HubFailed):
        bench.pull()
    bench.partial(WEIGHTS).write_bytes(b"z" * 5000)
    bench.pull()
    assert (bench.snapshot() / WEIGHTS).read_bytes() == (STORIES / WEIGHTS).read_bytes()


def test_a_partial_file_that_is_too_long_begins_anew(bench: Bench) -> None:
    bench.hub.cuts[WEIGHTS] = [1000] * 4
    with pytest.raises(HubFailed):
        bench.pull()
    bench.partial(WEIGHTS).write_bytes(bytes(len(bench.hub.repos["acme/tiny"].files[WEIGHTS]) + 1))
    bench.pull()
    assert (bench.snapshot() / WEIGHTS).read_bytes() == (STORIES / WEIGHTS).read_bytes()


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_hub_in_trouble_is_asked_again(bench: Bench, status: int) -> None:
    bench.hub.refuse = {"/api/models/": [(status, {})] * 2, WEIGHTS: [(status, {})]}
    bench.pull()
    assert bench.waits == [0.5, 1.0, 0.5]
    bench.hub.refuse = {"/api/models/": [(status, {})] * 4}
    with pytest.raises(HubFailed, match=f"answered {status}"):
        bench.pull()


def test_a_hub_that_says_when_to_come_back_is_believed_within_reason(bench: Bench) -> None:
    bench.hub.refuse = {"/api/models/acme": [(429, {"retry-after": "7"})], WEIGHTS: [(429, {"retry-after": "11"})]}
    bench.pull()
    assert bench.waits == [7.0, 11.0]
    bench.hub.refuse = {"/api/models/acme": [(429, {"retry-after": "4000"})]}
    with pytest.raises(HubFailed, match="too many requests"):
        bench.pull()


def test_absent_models_get_close_names(bench: Bench) -> None:
    bench.hub.add_folder("acme/tiny-chat", STORIES)
    with pytest.raises(ModelNotFound, match=r"has no model 'acne/tiny'.*private, set hub.token or HF_TOKEN.*Did you mean 'acme/tiny'"):
        bench.pull("acne/tiny")


def test_private_models_need_the_token_of_the_settings(bench: Bench) -> None:
    bench.hub.repos["acme/tiny"].token = "hf_right"
    with pytest.raises(ModelNotFound, match="HF_TOKEN"):
        bench.pull()
    bench.settings["token"] = "hf_right"
    bench.pull()
    assert (bench.snapshot() / WEIGHTS).is_file()
    last = [asked for asked in bench.hub.asked if "/resolve/" in asked.path or "/cdn/" in asked.path]
    assert {(asked.path.startswith("/cdn/"), asked.token) for asked in last} == {(False, "hf_right"), (True, None)}  # not to other hosts


def test_a_token_that_is_refused(bench: Bench) -> None:
    bench.settings["token"] = "hf_wrong"
    bench.hub.refuse = {"/api/models/acme": [(401, {}), (403, {})]}
    with pytest.raises((Forbidden, ModelNotFound)):
        bench.pull()
    with pytest.raises(Forbidden, match=r"refuses the token for 'acme/tiny' \(403\).*hub.token"):
        bench.pull()


def test_gated_models_say_where_to_accept_the_terms(bench: Bench) -> None:
    bench.hub.repos["acme/tiny"].gated = True
    with pytest.raises(Forbidden, match=rf"'acme/tiny' is gated. Accept its terms at {bench.hub.url}/acme/tiny, then set hub.token"):
        bench.pull()


@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        ({"config.json": b"{}", "pytorch_model.bin": b"p"}, ModelUnusable, "only pytorch_model.bin: such files can run code"),
        ({"small.Q4_0.gguf": b"g", "big.Q8_0.gguf": b"g"}, InvalidRequest, "acme/other/big.Q8_0.gguf, acme/other/small.Q4_0.gguf"),
        ({"README.md": b"r"}, ModelUnusable, "holds no weights"),
        ({}, HubFailed, "empty repository"),
    ],
)
def test_repositories_without_safe_weights(bench: Bench, files: dict[str, bytes], error: type[Exception], words: str) -> None:
    bench.hub.add("acme/other", files)
    with pytest.raises(error, match=words):
        bench.pull("acme/other")
    assert not bench.snapshot("acme/other").exists()


@pytest.mark.parametrize("reference", ["tiny", "a/b/c", "acme/tiny@", "../x/y", "acme/ti ny", "acme/tiny+x", ""])
def test_references_that_are_none(bench: Bench, reference: str) -> None:
    with pytest.raises(InvalidRequest, match="ORGANISATION/NAME"):
        bench.pull(reference)
    assert bench.hub.asked == []


def test_an_architecture_that_cannot_be_loaded_is_refused_unless_forced(bench: Bench) -> None:
    config = json.dumps({"model_type": "no-such-type"}).encode()
    bench.hub.add("acme/odd", {**bench.hub.repos["acme/tiny"].files, "config.json": config})
    with pytest.raises(ModelUnusable, match="'no-such-type', which cannot be loaded here"):
        bench.pull("acme/odd")
    assert bench.pull("acme/odd", force=True) == "acme/odd"


def test_a_model_that_is_too_large_for_memory_is_refused_unless_forced(bench: Bench) -> None:
    bench.machine = Machine(memory_bytes=300 * 2**20)
    with pytest.raises(DoesNotFit, match=r"needs about .* of memory.*residency.memory_bytes.*--force") as caught:
        bench.pull()
    assert caught.value.required_bytes > caught.value.available_bytes == 300 * 2**20
    assert bench.hub.downloads(WEIGHTS) == []
    bench.pull(force=True)


def test_a_disk_that_is_too_full_is_noticed_before_the_first_byte(bench: Bench) -> None:
    bench.machine = Machine(memory_bytes=2**34, free_disk=lambda path: 2**28 + 1000)
    with pytest.raises(DoesNotFit, match=r"256 MiB free; the download needs 1 MiB"):
        bench.pull(force=True)
    assert bench.hub.downloads(WEIGHTS) == []


def test_offline_only_what_is_whole_counts(bench: Bench) -> None:
    bench.settings["offline"] = True
    with pytest.raises(HubFailed, match=r"offline \(hub.offline or HF_HUB_OFFLINE"):
        bench.pull()
    bench.settings["offline"] = False
    bench.pull()
    bench.settings["offline"] = True
    bench.hub.asked.clear()
    assert bench.pull() == "acme/tiny"
    assert bench.hub.asked == []


def test_a_hub_that_is_not_there(bench: Bench) -> None:
    bench.settings["endpoint"] = "http://127.0.0.1:9"
    with pytest.raises(HubFailed, match=r"http://127.0.0.1:9 cannot be reached \(ConnectError.*hub.endpoint"):
        bench.pull()
    assert len(bench.waits) == 3


def test_a_hub_that_speaks_something_else(bench: Bench) -> None:
    bench.settings["endpoint"] = f"{bench.hub.url}/elsewhere"
    with pytest.raises((ModelNotFound, HubFailed)):
        bench.pull()


def test_unfinished_downloads_are_listed(bench: Bench) -> None:
    bench.hub.cuts[WEIGHTS] = [1000] * 4
    with pytest.raises(HubFailed):
        bench.pull()
    entries = {entry.id: entry for entry in list_models(ModelsSettings(), hub_cache=bench.cache)}
    assert "did not finish" in (entries["acme/tiny"].problem or "")
    bench.pull()
    entries = {entry.id: entry for entry in list_models(ModelsSettings(), hub_cache=bench.cache)}
    assert entries["acme/tiny"].problem is None


@pytest.mark.parametrize(("name", "error"), [("a b", InvalidRequest), ("", InvalidRequest), ("pomona-tiny", Conflict)])
def test_a_name_that_cannot_be_is_refused_before_the_first_byte(bench: Bench, name: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=repr(name)):
        bench.pull(name=name)
    assert bench.hub.asked == []


def test_an_alias_is_given(bench: Bench) -> None:
    bench.pull(name="small")
    assert bench.registry.aliases() == {"small": "acme/tiny"}


@pytest.mark.parametrize("name", ["../../escape.json", "/etc/escape.json"])
def test_file_names_cannot_lead_out_of_the_cache(bench: Bench, name: str, tmp_path: Path) -> None:
    bench.hub.repos["acme/tiny"].files[name] = b"{}"
    with pytest.raises(HubFailed, match="leads elsewhere"):
        bench.pull()
    assert not list(tmp_path.rglob("escape.json"))
