"""Getting and naming models over the admin address, with the statuses of the systems that had these addresses before."""

import json
import shutil
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest

from pomona.core.settings import ModelsSettings
from pomona.hub.client import LocalHub
from pomona.hub.deleting import Remover
from pomona.hub.pulls import BackgroundPulls
from pomona.hub.registry.file import RegistryFile
from pomona.hub.registry.registry import LocalRegistry
from pomona.hub.registry.scanning import FolderScanner
from pomona.models.hub_cache import find_snapshot
from pomona.server.services import HubPorts
from tests.api.gateway import Gateway, running
from tests.hub.conftest import STORIES, Bench
from tests.hub.test_registry import adapter

WEIGHTS = "model.safetensors"


@pytest.fixture
def admin(bench: Bench, tmp_path: Path) -> Generator[httpx.Client]:
    """A client of the admin address of a gateway that gets models from the hub of the test. Its own folder of models is `own`."""
    shutil.copytree(STORIES, tmp_path / "own" / "stories")
    settings = ModelsSettings(aliases={"chat": "pomona-tiny"}, folders=(tmp_path / "own",))
    registry = LocalRegistry(RegistryFile(tmp_path / "models.json"), settings, bench.converted, hub_cache=bench.cache)
    pulls = BackgroundPulls(bench.puller)
    remover = Remover(
        registry=registry, settings=settings, converted=bench.converted, hub_cache=bench.cache, pulling=pulls.is_pulling, loaded=tuple
    )
    ports = HubPorts(
        hub=LocalHub(connection=bench.connection, planner=bench.planner, remover=remover),
        pulls=pulls,
        registry=registry,
        aliases=registry,
        scanner=FolderScanner(registry=registry, roots=(tmp_path / "own",)),
    )
    with running(Gateway(hub=ports)) as gateway, httpx.Client(base_url=gateway.urls.admin, timeout=30) as client:
        yield client
        bench.hub.go.set()
        pulls.close()


def events_of(client: httpx.Client, id: str) -> list[dict[str, object]]:
    """All states of a pull, until it has ended."""
    with client.stream("GET", f"/admin/pulls/{id}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        return [json.loads(line.removeprefix("data: ")) for line in response.iter_lines() if line.startswith("data: ")]


def test_a_pull_is_begun_watched_and_listed(admin: httpx.Client, bench: Bench) -> None:
    begun = admin.post("/admin/pull", json={"model": "acme/tiny", "name": "small"})
    assert begun.status_code == 202
    id = begun.json()["id"]
    assert begun.headers["location"] == f"/admin/pulls/{id}"
    last = events_of(admin, id)[-1]
    assert (last["state"], last["model"], last["problem"]) == ("finished", "acme/tiny", None)
    assert admin.get(f"/admin/pulls/{id}").json() == last == admin.get("/admin/pulls").json()["pulls"][0]
    assert admin.get("/admin/aliases").json() == {"aliases": {"chat": "pomona-tiny", "small": "acme/tiny"}}
    assert find_snapshot("acme/tiny", None, bench.cache) is not None


def test_a_pull_is_cancelled(admin: httpx.Client, bench: Bench) -> None:
    bench.hub.hold[WEIGHTS] = 1000
    id = admin.post("/admin/pull", json={"model": "acme/tiny"}).json()["id"]
    bench.hub.held.wait()
    assert admin.delete("/admin/models/acme/tiny").status_code == 409  # it is being pulled
    assert admin.delete(f"/admin/pulls/{id}").json()["state"] == "cancelled"
    assert events_of(admin, id)[-1]["state"] == "cancelled"


def test_wrong_pulls(admin: httpx.Client) -> None:
    wrong: list[tuple[dict[str, object], int, str]] = [
        ({"model": "nothing"}, 400, "ORGANISATION/NAME"),
        ({"model": "acme/tiny", "quantize": "3bit"}, 400, "4bit"),
        ({"model": "acme/tiny", "name": "a b"}, 400, "'a b' cannot be the name"),
        ({"model": "acme/tiny", "name": "pomona-tiny"}, 409, "taken by a model"),
        ({}, 400, "model"),
    ]
    for body, status, words in wrong:
        answer = admin.post("/admin/pull", json=body)
        assert (answer.status_code, words in answer.json()["error"]["message"]) == (status, True), body
    assert admin.get("/admin/pulls").json() == {"pulls": []}
    assert admin.get("/admin/pulls/pull_0").status_code == admin.delete("/admin/pulls/pull_0").status_code == 404
    assert admin.get("/admin/pulls/pull_0/events").status_code == 404


def test_the_hub_is_searched_and_described(admin: httpx.Client, bench: Bench) -> None:
    (found,) = admin.get("/admin/hub/search", params={"q": "tiny"}).json()["models"]
    assert (found["id"], found["mlx"], found["loadable"]) == ("acme/tiny", True, True)
    assert (found["fit"]["memory"]["as stored"], found["fit"]["best"]) == ("fits", "as stored")
    shown = admin.get("/admin/hub/models/acme/tiny").json()
    assert shown["fit"]["memory"]["as stored"] == "fits"
    assert shown["fit"]["best"] == "as stored"
    assert admin.get("/admin/hub/search", params={"limit": 0}).status_code == 400
    assert admin.get("/admin/hub/models/acme/absent").status_code == 404
    bench.hub.refuse = {"/api/models": [(403, {"x-error-code": "GatedRepo"})]}
    assert admin.get("/admin/hub/models/acme/tiny").status_code == 403
    bench.hub.refuse = {"/api/models": [(500, {})] * 4}
    assert admin.get("/admin/hub/search").status_code == 502


def test_models_are_registered_and_forgotten(admin: httpx.Client, tmp_path: Path) -> None:
    body = {"name": "tales", "path": str(STORIES), "registered_by": "mlx-model-hub", "model_id": "7", "metadata": {"epochs": 3}}
    registered = admin.post("/admin/models/register", json=body)
    assert registered.status_code == 201
    assert registered.json().items() >= {"name": "tales", "base": None, "model_id": "7", "metadata": {"epochs": 3}}.items()
    assert admin.post("/admin/models/register", json=body).status_code == 409
    assert admin.delete("/admin/models/tales").json() == {"name": "tales", "removed": "entry", "freed_bytes": 0}
    assert admin.delete("/admin/models/tales").status_code == 404
    adapted = {"name": "legal", "base_model": "pomona-tiny", "adapter_path": str(adapter(tmp_path / "legal")), "config": {"lora_rank": 8}}
    assert admin.post("/admin/models/register", json=adapted).json()["metadata"] == {"config": {"lora_rank": 8}}


def test_what_cannot_be_registered(admin: httpx.Client) -> None:
    wrong: list[tuple[dict[str, object], int]] = [
        ({"name": "x", "base_model": "pomona-tiny", "adapter_path": "/no/such/folder"}, 404),
        ({"name": "x", "base_model": "no/such-model", "adapter_path": str(STORIES)}, 404),
        ({"name": "x", "base_model": "pomona-tiny", "adapter_path": str(STORIES)}, 400),
        ({"name": "x", "path": str(STORIES.parent)}, 400),
        ({"name": "x", "path": str(STORIES), "adapter_path": str(STORIES), "base_model": "pomona-tiny"}, 400),
        ({"name": "x", "adapter_path": str(STORIES)}, 400),
        ({"name": "x"}, 400),
        ({"name": "a b", "path": str(STORIES)}, 400),
        ({"name": "pomona-tiny", "path": str(STORIES)}, 409),
        ({"path": str(STORIES)}, 400),
    ]
    for body, status in wrong:
        answer = admin.post("/admin/models/register", json=body)
        assert (answer.status_code, bool(answer.json()["error"]["message"])) == (status, True), body


def test_built_in_models_are_not_removed(admin: httpx.Client) -> None:
    assert admin.delete("/admin/models/pomona-tiny").status_code == 400
    assert admin.delete("/admin/models/stories").status_code == 400
    assert admin.delete("/admin/models/chat").status_code == 409
    assert admin.delete("/admin/models/no/such").status_code == 404


def test_files_of_pulled_models_are_deleted(admin: httpx.Client, bench: Bench) -> None:
    bench.pull()
    answer = admin.delete("/admin/models/acme/tiny").json()
    assert answer["removed"] == "files"
    assert answer["freed_bytes"] > 10**6
    assert find_snapshot("acme/tiny", None, bench.cache) is None


def test_folders_are_scanned_inside_those_of_the_settings(admin: httpx.Client, tmp_path: Path) -> None:
    adapter(tmp_path / "own" / "exports" / "legal")
    found = admin.post("/admin/models/scan", params={"directory": str(tmp_path / "own" / "exports")}).json()
    assert [(entry["name"], entry["base"], entry["registered_by"]) for entry in found["registered"]] == [("legal", "pomona-tiny", "scan")]
    assert admin.post("/admin/models/scan", params={"directory": "/"}).status_code == 403
    assert admin.post("/admin/models/scan", params={"directory": str(tmp_path / "own" / "absent")}).status_code == 404
    assert admin.post("/admin/models/scan").status_code == 400


def test_aliases_are_set_shown_and_taken_back(admin: httpx.Client) -> None:
    assert admin.put("/admin/aliases/acme/best", json={"model": "pomona-tiny"}).json() == {"alias": "acme/best", "model": "pomona-tiny"}
    assert admin.get("/admin/aliases/acme/best").json()["model"] == "pomona-tiny"
    assert admin.put("/admin/aliases/lost", json={"model": "no/such"}).status_code == 404
    assert admin.put("/admin/aliases/chat", json={"model": "pomona-tiny"}).status_code == 409
    assert admin.put("/admin/aliases/a@b", json={"model": "pomona-tiny"}).status_code == 400
    assert admin.put("/admin/aliases/x", json={}).status_code == 400
    assert admin.delete("/admin/aliases/chat").status_code == 409
    assert admin.delete("/admin/aliases/acme/best").json() == {"alias": "acme/best", "model": "pomona-tiny"}
    assert admin.delete("/admin/aliases/acme/best").status_code == admin.get("/admin/aliases/acme/best").status_code == 404
