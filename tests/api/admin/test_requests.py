"""The last requests on the admin address, and where their time went."""

import httpx
import pytest

from pomona.control.callers import Scope
from pomona.control.keys import KeyRing, make_key
from pomona.core.errors import EngineFailed
from pomona.core.generation import GenerateRequest
from pomona.core.settings import Settings, TracingSettings
from pomona.core.tracing.times import Delay, RowTimes, Span
from tests.api.gateway import MODEL, Gateway, running, settings_with
from tests.doubles import Script, answer

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "A secret."}]}
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SCOPES: tuple[Scope, Scope] = ("admin", "public")


def ask(gateway: Gateway, **fields: object) -> httpx.Response:
    headers = {"x-request-id": str(fields.pop("id", "r-1")), "traceparent": PARENT}
    return gateway.http().post("/v1/chat/completions", json={**CHAT, **fields}, headers=headers)


def listed(gateway: Gateway, query: str = "") -> list[str]:
    return [request["id"] for request in gateway.admin().get(f"/admin/requests{query}").json()["requests"]]


def marking(request: GenerateRequest) -> Script:
    """What the fleet does with a trace."""
    trace = request.trace
    assert trace is not None
    trace.enter("load")
    trace.enter("template")
    trace.enter_engine()
    span = Span(name="decode", start=0.0, seconds=0.5, own=0.25, behind=0.25)
    delay = Delay(by="elsewhere", seconds=0.25, tokens=64, decoding=True)
    trace.note_awaited()
    trace.note_times(RowTimes(began=trace.since, seconds=0.5, spans=(span,), delays=(delay,)), last=True)
    return answer("Hello")


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_is_explained_under_each_of_its_ids(gateway: Gateway, stream: bool) -> None:
    gateway.generator.choose = marking
    response = ask(gateway, id="r-explained", stream=stream)
    assert ("server-timing" in response.headers) == (not stream)
    document = gateway.admin().get("/admin/requests/r-explained/explain").json()
    [answer_id] = document["answer_ids"]
    assert answer_id in response.text
    assert gateway.admin().get(f"/admin/requests/{answer_id}/explain").json() == document
    assert document["trace_parent"] == {"trace_id": PARENT[3:35], "span_id": PARENT[36:52], "sampled": True}
    assert (document["outcome"], document["status"], document["running"], document["model"]) == ("ok", 200, False, MODEL)
    assert sum(phase["seconds"] for phase in document["phases"]) == pytest.approx(document["seconds"], abs=1e-4)
    assert [item["name"] for item in document["timeline"][:2]] == ["receive", "read"]
    assert document["delays"][0]["request"] == "elsewhere"
    assert "secret" not in str(document)


def test_several_answers_are_one_request(gateway: Gateway) -> None:
    gateway.generator.choose = marking
    ask(gateway, id="r-three", n=3)
    document = gateway.admin().get("/admin/requests/r-three/explain").json()
    assert len(document["answer_ids"]) == len(document["answers"]) == 3
    assert gateway.admin().get(f"/admin/requests/{document['answer_ids'][2]}/explain").json()["id"] == "r-three"
    assert document["tokens"]["completion"] == 3


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"model": MODEL, "prompt": "x"}),
        ("/v1/messages", {"model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}),
        ("/v1/responses", {"model": MODEL, "input": "x"}),
    ],
)
def test_every_api_is_traced(gateway: Gateway, path: str, body: dict[str, object]) -> None:
    answered = gateway.http().post(path, json=body, headers={"x-request-id": "r-api"}).json()
    document = gateway.admin().get(f"/admin/requests/{answered['id']}/explain").json()
    assert (document["id"], document["outcome"]) == ("r-api", "ok")


def test_what_was_refused_failed_and_ended_well_can_be_told_apart(gateway: Gateway) -> None:
    ask(gateway, id="r-good")
    ask(gateway, id="r-bad", temperature=17)
    gateway.generator.script = (EngineFailed("It died."),)
    ask(gateway, id="r-dead")
    assert listed(gateway, "?limit=3") == ["r-dead", "r-bad", "r-good"]
    assert listed(gateway, "?outcome=error&limit=2") == ["r-dead", "r-bad"]
    assert listed(gateway, f"?outcome={EngineFailed.code}&limit=1") == ["r-dead"]
    assert listed(gateway, "?outcome=ok&model=alias&limit=1") == ["r-good"]
    assert listed(gateway, "?model=nobody") == []
    refused = gateway.admin().get("/admin/requests?outcome=fine")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "outcome")
    assert "outcome = 'fine' should be one of ok, running, cancelled, error, " in refused.json()["error"]["message"]
    assert listed(gateway, "?slower_than=1000") == []
    slowest = [request["seconds"] for request in gateway.admin().get("/admin/requests?order=slowest").json()["requests"]]
    assert slowest == sorted(slowest, reverse=True)


def test_a_request_that_runs_is_seen_live(gateway: Gateway) -> None:
    gateway.generator.script = (*answer("Hello")[:2], gateway.never)
    with gateway.http().stream(
        "POST", "/v1/chat/completions", json={**CHAT, "stream": True}, headers={"x-request-id": "r-live"}
    ) as response:
        chunks = response.iter_bytes()
        next(chunks)
        assert listed(gateway, "?running=true") == ["r-live"]
        first, second = (gateway.admin().get("/admin/requests/r-live/explain").json() for _ in range(2))
        assert first["running"] is second["running"] is True
        assert first["seconds"] < second["seconds"]
    gateway.wait_until(lambda: gateway.generator.running == 0)
    assert listed(gateway, "?running=true") == []
    assert gateway.admin().get("/admin/requests/r-live/explain").json()["outcome"] == "cancelled"


def test_bad_questions_are_answered_with_what_is_wrong(gateway: Gateway) -> None:
    gone = gateway.admin().get("/admin/requests/r-nowhere/explain")
    assert (gone.status_code, "'r-nowhere'" in gone.text, "GET /admin/requests" in gone.text) == (404, True, True)
    for query in ("limit=0", "limit=1001", "order=odd", "slower_than=-1", "running=perhaps"):
        assert gateway.admin().get(f"/admin/requests?{query}").status_code == 400


def test_a_filter_that_there_is_not_is_an_error_and_not_all_requests(gateway: Gateway) -> None:
    refused = gateway.admin().get("/admin/requests?outcom=error")
    assert (refused.status_code, refused.json()["error"]["message"]) == (400, "There is no field 'outcom' here.")


def test_only_so_many_are_kept() -> None:
    settings: Settings = settings_with().model_copy(update={"tracing": TracingSettings(requests=2)})
    with running(Gateway(settings=settings)) as gateway:
        for number in range(4):
            ask(gateway, id=f"r-{number}")
        assert listed(gateway) == ["r-3", "r-2"]
        gateway.reset()


def test_traces_are_for_those_with_an_admin_key() -> None:
    (admin, admin_text), (public, public_text) = (make_key(scope, now=0.0, scope=scope) for scope in SCOPES)
    with running(Gateway(keys=KeyRing((admin, public)))) as gateway:
        for path in ("/admin/requests", "/admin/requests/x/explain"):
            statuses = [
                gateway.admin().get(path, headers={"authorization": f"Bearer {key}"} if key else {}).status_code
                for key in ("", public_text, admin_text)
            ]
            assert statuses[:2] == [401, 403]
            assert statuses[2] in {200, 404}
        gateway.reset()


def test_requests_without_a_right_key_are_not_kept() -> None:
    (key, text) = make_key("k", now=0.0, scope="admin")
    with running(Gateway(keys=KeyRing((key,)))) as gateway:
        assert ask(gateway, id="r-stranger").status_code == 401
        shown = gateway.admin().get("/admin/requests", headers={"x-api-key": text}).json()
        assert (shown["kept"], shown["requests"]) == (0, [])
        gateway.reset()
