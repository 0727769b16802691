"""Models, health, readiness, version, metrics, status and the OpenAPI document."""

from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pomona.core.errors import EngineFailed
from pomona.core.generation import GenerateRequest, Usage
from pomona.core.metrics import Metrics
from pomona.core.records import RequestRecord
from pomona.core.status import EngineCounters, EngineReport, ModelCard
from pomona.server.recording import Recorder, count_in
from tests.api.gateway import MODEL, READY, Gateway
from tests.doubles import ScriptedGenerator, answer


def report(**changes: object) -> EngineReport:
    return replace(READY, **changes)  # pyright: ignore[reportArgumentType]


def test_the_official_client_lists_models_and_shows_one(gateway: Gateway) -> None:
    client = gateway.openai()
    assert [model.id for model in client.models.list()] == [MODEL, "alias"]
    shown = client.models.retrieve(MODEL)
    assert (shown.id, shown.object, shown.created, shown.owned_by) == (MODEL, "model", 1_700_000_000, "acme")
    assert gateway.http().get(f"/v1/models/{MODEL}").json()["max_context"] == 512
    gateway.directory.cards = [ModelCard(id="new", created=1, owned_by="me")]
    assert [model.id for model in client.models.list()] == ["new"]


LOADING = report(state="loading", seconds_since_step=None, facts=None)
AWAITED = replace(LOADING, required=True)
FOUND = report(seconds_since_step=31.0)
HUNG = report(seconds_since_step=33.0)
FAILED = report(state="failed", problem="out of memory")
RESTARTING = report(state="restarting", seconds_since_step=3.0)
SLOW_RESTART = report(state="restarting", seconds_since_step=99.0, problem="its process hung")


@pytest.mark.parametrize(
    ("reports", "health", "ready"),
    [
        ((READY,), 200, 200),
        ((LOADING,), 200, 200),
        ((AWAITED,), 200, 503),
        ((READY, AWAITED), 200, 503),
        ((FOUND,), 200, 503),
        ((HUNG,), 503, 503),
        ((FAILED,), 503, 503),
        ((RESTARTING,), 200, 503),
        ((SLOW_RESTART,), 200, 503),
        ((READY, RESTARTING), 200, 200),
        ((FAILED, RESTARTING), 503, 503),
        ((READY, LOADING), 200, 200),
        ((READY, FAILED), 503, 200),
        ((), 200, 200),
    ],
)
def test_health_and_readiness(gateway: Gateway, reports: tuple[EngineReport, ...], health: int, ready: int) -> None:
    gateway.status.reports = reports
    for client in (gateway.http(), gateway.admin()):
        assert client.get("/health").status_code == health
        assert client.get("/ready").status_code == ready


def test_health_says_what_is_wrong(gateway: Gateway) -> None:
    gateway.status.reports = (FAILED, HUNG)
    body = gateway.http().get("/health").json()
    assert body["status"] == "failing"
    assert "out of memory" in body["problems"][0]
    assert "no step for 33.0 seconds; the limit is 30" in body["problems"][1]
    assert body["engines"][0]["counters"]["pages_total"] == 40
    assert "acme/tiny-chat is failed" in gateway.http().get("/ready").json()["reason"]


def test_health_says_that_an_engine_is_being_replaced(gateway: Gateway) -> None:
    gateway.status.reports = (SLOW_RESTART, FOUND)
    body = gateway.http().get("/health").json()
    assert (body["status"], body["problems"], body["draining"]) == ("recovering", [], False)
    assert "started again: its process hung" in body["recovering"][0]
    assert "no step for 31.0 seconds and is being ended" in body["recovering"][1]
    gateway.status.reports = (READY,)
    assert gateway.http().get("/health").json()["status"] == "ok"


def test_the_version(gateway: Gateway) -> None:
    assert gateway.http().get("/version").json() == {"name": "pomona", "version": "0.1.0"}


def test_the_status_document(gateway: Gateway) -> None:
    body = gateway.admin().get("/admin/status").json()
    assert body["engines"][0]["facts"]["architecture"] == "llama"
    assert body["models"][0].items() >= {"id": MODEL, "owned_by": "acme", "max_context": 512, "loaded": True}.items()
    assert (body["problems"], body["draining"]) == ([], False)
    assert body["uptime_seconds"] > 0


def test_the_admin_address_does_not_answer_requests_nor_the_public_one_metrics(gateway: Gateway) -> None:
    assert gateway.admin().post("/v1/completions", json={"model": MODEL, "prompt": "x"}).status_code == 404
    assert gateway.http().get("/metrics").status_code == 404
    assert gateway.http().get("/admin/status").status_code == 404


def scrape(gateway: Gateway) -> dict[str, dict[str, float]]:
    """Per sample name: value by the joined label values."""
    response = gateway.admin().get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            found.setdefault(sample.name, {})["/".join(sample.labels.values())] = sample.value
    return found


def test_engine_gauges_follow_the_engines_at_each_scrape(gateway: Gateway) -> None:
    found = scrape(gateway)
    assert found["pomona_engine_running_rows"] == {MODEL: 2}
    assert found["pomona_engine_waiting_requests"] == {MODEL: 1}
    assert found["pomona_engine_kv_pages_used"] == {MODEL: 5}
    assert found["pomona_engine_kv_pages_cached"] == {MODEL: 3}
    assert found["pomona_engine_kv_pages_total"] == {MODEL: 40}
    assert found["pomona_engine_kv_bytes"] == {MODEL: 4096}
    assert found["pomona_engine_steps"] == {MODEL: 7}
    assert found["pomona_engine_preemptions"] == {MODEL: 1}
    gateway.status.reports = (report(model="other", counters=EngineCounters(running=9)),)
    assert scrape(gateway)["pomona_engine_running_rows"] == {"other": 9}


def test_restarts_are_counted_once(gateway: Gateway) -> None:
    for restarts, total in ((2, 2), (2, 2), (3, 3)):
        gateway.status.reports = (report(model="shaky", restarts=restarts),)
        assert scrape(gateway)["pomona_engine_restarts_total"]["shaky"] == total


def test_requests_are_counted_by_endpoint_and_outcome(gateway: Gateway) -> None:
    before = scrape(gateway).get("pomona_requests_total", {})
    gateway.http().post("/v1/completions", json={"model": MODEL, "prompt": "x", "n": 2})
    gateway.http().post("/v1/completions", json={"model": MODEL, "prompt": "x", "stream": True})
    gateway.http().post("/v1/completions", json={"model": "gone", "prompt": "x"})
    gateway.http().post("/v1/completions", json={})
    gateway.generator.script = (EngineFailed("It died."),)
    gateway.http().post("/v1/completions", json={"model": MODEL, "prompt": "x"})
    after = scrape(gateway)["pomona_requests_total"]
    new = {label: value - before.get(label, 0) for label, value in after.items() if value != before.get(label, 0)}
    assert new == {
        "completions/ok": 3,
        "completions/model_not_found": 1,
        "completions/invalid_request": 1,
        "completions/engine_failed": 1,
    }


async def test_times_and_tokens_are_recorded_in_one_fact() -> None:
    metrics, records, ticks = Metrics(), list[RequestRecord](), iter([10.0, 10.5, 10.75, 11.75, 12.0])
    recorder = Recorder(metrics, (records.append, count_in(metrics)), clock=lambda: next(ticks))
    inner = ScriptedGenerator(script=answer("a", "b", "c", prompt_tokens=7, cached_tokens=4))
    request = GenerateRequest(id="r", model="m", text="x")
    events = [event async for event in recorder.watch(inner, "completions").generate(request)]
    assert events == list(inner.script)
    usage = Usage(prompt_tokens=7, cached_tokens=4, completion_tokens=3)
    assert records == [
        RequestRecord(
            id="r",
            endpoint="completions",
            model="m",
            outcome="ok",
            seconds=2.0,
            first_token_seconds=0.5,
            usage=usage,
            finish_reason="stop",
        )
    ]
    value = metrics.registry.get_sample_value
    assert value("pomona_time_to_first_token_seconds_sum", {"model": "m"}) == 0.5
    assert value("pomona_inter_token_gap_seconds_sum", {"model": "m"}) == 1.25
    assert value("pomona_inter_token_gap_seconds_count", {"model": "m"}) == 2
    assert value("pomona_prompt_tokens_total", {"model": "m"}) == 7
    assert value("pomona_cached_prompt_tokens_total", {"model": "m"}) == 4
    assert value("pomona_completion_tokens_total", {"model": "m"}) == 3


def test_the_openapi_document_describes_bodies_and_routes(gateway: Gateway) -> None:
    document = gateway.http().get("/openapi.json").json()
    body = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    schema = document["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    assert {"messages", "model", "temperature", "min_p"} <= set(schema["properties"])
    assert schema["required"] == ["model", "messages"]
    references = {each.split('"')[0] for each in gateway.http().get("/openapi.json").text.split("#/components/schemas/")[1:]}
    assert references <= set(document["components"]["schemas"])
    assert "/v1/completions" in document["paths"]
