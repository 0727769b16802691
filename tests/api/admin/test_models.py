"""Models by name: listing, showing, loading, unloading, pinning, with the statuses of the systems that had these addresses before."""

import asyncio
import threading

import pytest

from pomona.core.errors import Conflict, DoesNotFit, EngineFailed, HubFailed, ModelUnusable, NotReady, Overloaded, PomonaError
from tests.api.gateway import MODEL, Gateway
from tests.api.leaving import post
from tests.doubles import GB, model_status

READER, POET = "acme/reader", f"{MODEL}+poet"


def test_the_list_shows_every_model_by_id(gateway: Gateway) -> None:
    page = gateway.admin().get("/admin/models").json()
    assert (page["total_models"], page["loaded_models"], page["page"]) == (3, 1, 1)
    assert list(page["models"]) == [MODEL, READER, POET]
    shown = page["models"][MODEL]
    assert shown.items() >= {"loaded": True, "state": "ready", "type": "base", "source": "folder", "max_context": 512}.items()
    assert shown["plan"]["total"] == 3 * GB
    assert page["models"][POET].items() >= {"type": "lora", "base_model": MODEL, "adapter_path": f"/models/{POET}"}.items()


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("state=loaded", [MODEL]),
        ("state=unloaded", [READER, POET]),
        ("task=embed", [READER]),
        ("source=adapter", [POET]),
        ("registered_by=hub-app", [READER]),
        ("registered_by=nobody", []),
        ("q=POET", [POET]),
        ("q=alias", [MODEL]),
        ("page_size=2", [MODEL, READER]),
        ("page_size=2&page=2", [POET]),
        ("page=9", []),
        ("state=unloaded&task=generate", [POET]),
    ],
)
def test_the_list_is_filtered_and_paged(gateway: Gateway, query: str, names: list[str]) -> None:
    assert list(gateway.admin().get(f"/admin/models?{query}").json()["models"]) == names


@pytest.mark.parametrize("query", ["state=asleep", "task=sing", "page=0", "page_size=1001", "page=x"])
def test_wrong_filters_are_named(gateway: Gateway, query: str) -> None:
    response = gateway.admin().get(f"/admin/models?{query}")
    assert response.status_code == 400
    assert response.json()["error"]["param"] == query.partition("=")[0]


@pytest.mark.parametrize("name", [MODEL, "alias"])
@pytest.mark.parametrize("ending", ["", "/status"])
def test_a_model_is_shown_by_any_name(gateway: Gateway, name: str, ending: str) -> None:
    shown = gateway.admin().get(f"/admin/models/{name}{ending}").json()
    assert (shown["id"], shown["registered"], shown["loaded"], shown["memory_gb"], shown["aliases"]) == (MODEL, True, True, 2.0, ["alias"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/admin/models/no/such"),
        ("GET", "/admin/models/no/such/status"),
        ("POST", "/admin/models/no/such/load"),
        ("POST", "/admin/models/no/such/preload"),
        ("POST", "/admin/models/no/such/unload"),
        ("POST", "/admin/models/no/such/pin"),
        ("DELETE", "/admin/models/no/such/pin"),
        ("POST", "/admin/load?model_path=no/such"),
        ("POST", "/admin/unload?model_path=no/such"),
        ("GET", "/admin/capabilities?model=no/such"),
        ("GET", "/admin/events?model=no/such"),
    ],
)
def test_an_unknown_model_is_404(gateway: Gateway, method: str, path: str) -> None:
    response = gateway.admin().request(method, path)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"
    assert MODEL in response.json()["error"]["message"]


@pytest.mark.parametrize("verb", ["load", "preload"])
def test_loading_waits_until_the_model_is_there(gateway: Gateway, verb: str) -> None:
    response = gateway.admin().post(f"/admin/models/{READER}/{verb}")
    assert response.status_code == 200
    assert response.json().items() >= {"status": "loaded", "model": READER, "memory_gb": 2.0, "load_time": 1.5}.items()
    assert response.json()["details"]["state"] == "ready"
    assert gateway.residents.asked == [("load", READER, None)]


@pytest.mark.parametrize(("text", "seconds"), [("600", 600.0), ('"10m"', 600.0), ("-1", -1.0), ("0", 0.0), ('"1h30m"', 5400.0)])
def test_keep_alive_and_pin_are_taken_from_the_body(gateway: Gateway, text: str, seconds: float) -> None:
    body = f'{{"keep_alive": {text}, "pin": true}}'
    response = gateway.admin().post(f"/admin/models/{READER}/load", content=body, headers={"content-type": "application/json"})
    assert response.json()["details"]["pinned"] is True
    assert gateway.residents.asked == [("load", READER, seconds), ("pin", READER, True)]


@pytest.mark.parametrize("keep_alive", ["soon", "5 parsecs", True, [], "", "nan", "-"])
def test_a_wrong_keep_alive_is_refused(gateway: Gateway, keep_alive: object) -> None:
    response = gateway.admin().post(f"/admin/models/{READER}/load", json={"keep_alive": keep_alive})
    assert response.status_code == 400
    assert "keep_alive" in response.json()["error"]["message"]
    assert gateway.residents.asked == []


def test_a_load_that_nobody_waits_for_goes_on(gateway: Gateway) -> None:
    gateway.residents.gate = gate = asyncio.Event()
    client = gateway.admin()
    response = client.post(f"/admin/models/{READER}/load?wait=false")
    assert (response.status_code, response.json()["status"]) == (202, "loading")
    gateway.wait_until(lambda: gateway.residents.asked != [])
    assert client.get(f"/admin/models/{READER}").json()["state"] == "loading"
    gateway.set(gate)
    gateway.wait_until(lambda: gateway.residents.models[1].state == "ready")
    assert client.post(f"/admin/models/{READER}/load?wait=false").status_code == 200  # it is there already


def test_a_client_that_leaves_does_not_end_its_load(gateway: Gateway) -> None:
    gateway.residents.gate = gate = asyncio.Event()
    with post(f"{gateway.urls.admin}/admin/models/{READER}/load", {}):
        gateway.wait_until(lambda: gateway.residents.asked != [])
    gateway.set(gate)
    gateway.wait_until(lambda: gateway.residents.models[1].state == "ready")


FAILURES: list[tuple[PomonaError, int, str, bool]] = [
    (DoesNotFit("It needs 90 GB; this machine has 50."), 507, "does_not_fit", False),
    (Overloaded("Busy models leave no room.", retry_after=7), 503, "overloaded", True),
    (NotReady("Not yet."), 503, "not_ready", True),
    (EngineFailed("It died."), 503, "engine_failed", True),
    (ModelUnusable("config.json is broken."), 500, "model_unusable", False),
    (HubFailed("No way to the hub."), 502, "hub_failed", True),
    (Conflict("It is being removed."), 409, "conflict", False),
]


@pytest.mark.parametrize(("failure", "status", "code", "again"), FAILURES, ids=lambda value: getattr(value, "code", None))
@pytest.mark.parametrize("path", [f"/admin/models/{READER}/load", f"/admin/load?model_path={READER}"])
def test_a_load_that_fails_says_why(gateway: Gateway, path: str, failure: PomonaError, status: int, code: str, again: bool) -> None:
    gateway.residents.failure = failure
    response = gateway.admin().post(path)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.json()["error"]["message"] == failure.message
    assert ("retry-after" in response.headers) is again
    assert response.headers["x-should-retry"] == ("true" if again else "false")
    assert gateway.admin().get(f"/admin/models/{READER}").json()["problem"] == failure.message


def test_unloading_frees_memory_and_once_is_enough(gateway: Gateway) -> None:
    client = gateway.admin()
    answer = client.post(f"/admin/models/{MODEL}/unload").json()
    assert answer == {"status": "unloaded", "model": MODEL, "freed_bytes": 2 * GB, "memory_freed_gb": 2.0, "unload_time": 0.25}
    again = client.post("/admin/models/alias/unload")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "conflict")


@pytest.mark.parametrize(("query", "body"), [("?force=true", None), ("", {"force": True})])
def test_unloading_by_force(gateway: Gateway, query: str, body: object) -> None:
    assert gateway.admin().post(f"/admin/models/{MODEL}/unload{query}", json=body).status_code == 200
    assert gateway.residents.asked == [("unload", MODEL, True)]


def test_the_form_of_mlx_inference_server_loads_and_unloads(gateway: Gateway) -> None:
    client = gateway.admin()
    assert client.post("/admin/load", params={"model_path": READER}).json() == {
        "status": "success",
        "model_name": READER,
        "memory_gb": 2.0,
        "load_time": 1.5,
    }
    answer = client.post("/admin/unload").json()
    assert answer.items() >= {"status": "success", "models": [MODEL, READER], "memory_freed_gb": 4.0, "unload_time": 0.5}.items()
    assert answer["model_name"] == answer["model_unloaded"] == MODEL
    for path in ("/admin/unload", f"/admin/unload?model_path={READER}"):
        response = client.post(path)
        assert response.status_code == 400
        assert "/admin/models?state=loaded" in response.json()["error"]["message"]
    assert client.post("/admin/load").json()["error"]["param"] == "model_path"


def test_pins_are_set_and_taken_back(gateway: Gateway) -> None:
    client = gateway.admin()
    assert client.post(f"/admin/models/{READER}/pin").json()["pinned"] is True
    assert client.post(f"/admin/models/{READER}/pin", json={"pinned": False}).json()["pinned"] is False
    assert client.post("/admin/models/alias/pin").json()["id"] == MODEL
    assert client.delete("/admin/models/alias/pin").json()["pinned"] is False
    assert gateway.residents.models[1].state == "unloaded"  # a pin loads nothing


def test_a_load_that_runs_at_the_end_of_the_server_is_ended() -> None:
    from tests.api.gateway import running

    answers: list[int] = []
    with running(Gateway()) as gateway:
        gateway.residents.gate = asyncio.Event()
        client = gateway.admin()
        asking = threading.Thread(target=lambda: answers.append(client.post(f"/admin/models/{READER}/load").status_code))
        asking.start()
        gateway.wait_until(lambda: gateway.residents.asked != [])
        gateway.set(gateway.stop)
        asking.join(timeout=60)
    assert answers == [503]
    assert gateway.residents.models[1].state == "unloaded"


def test_names_that_stand_for_the_default_model_find_it(gateway: Gateway) -> None:
    gateway.directory.stands_in = "claude-*"
    assert gateway.admin().get("/admin/models/claude-9").json()["id"] == MODEL


def test_a_model_without_a_plan_is_shown_too(gateway: Gateway) -> None:
    gateway.residents.models = [model_status("bare", plan=None)]
    shown = gateway.admin().get("/admin/models/bare").json()
    assert (shown["plan"], shown["memory_gb"], shown["max_context"]) == (None, None, None)
