"""Who comes in at each address, with which key, from which page, and what the others are told."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import anthropic
import httpx
import openai
import pytest

from pomona.control.key_file import KeyFile, WatchedKeys
from pomona.control.keys import KeyRing, make_key
from pomona.core.errors import ConfigurationError
from pomona.core.settings import AccessSettings, LimitsSettings, ServerSettings, Settings
from pomona.server.access.door import check_exposure
from tests.api.gateway import MODEL, Gateway, running, settings_with

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hello?"}]}
NOW = time.time()
PUBLIC, PUBLIC_TEXT = make_key("laptop", now=NOW)
ADMIN, ADMIN_TEXT = make_key("operator", now=NOW, scope="admin")
OLD, OLD_TEXT = make_key("old", now=NOW - 86400 * 10, lifetime_days=5)
GONE, GONE_TEXT = make_key("gone", now=NOW)
RING = KeyRing([PUBLIC, ADMIN, OLD, replace(GONE, revoked=int(NOW))])


@pytest.fixture(scope="module")
def keyed() -> Iterator[Gateway]:
    with running(Gateway(keys=RING)) as gateway:
        yield gateway


def test_every_key_is_as_good_as_none_where_there_are_none(gateway: Gateway) -> None:
    for headers in ({}, {"authorization": "Bearer dummy"}, {"x-api-key": "sk-ant-dummy"}):
        assert gateway.http().post("/v1/chat/completions", json=CHAT, headers=headers).status_code == 200
        assert gateway.admin().get("/metrics", headers=headers).status_code == 200


@pytest.mark.parametrize("text", [PUBLIC_TEXT, ADMIN_TEXT])
@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_a_key_opens_the_api_in_both_headers(keyed: Gateway, header: str, text: str) -> None:
    value = f"Bearer {text}" if header == "authorization" else text
    assert keyed.http().post("/v1/chat/completions", json=CHAT, headers={header: value}).status_code == 200


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "needs an API key"),
        ("wrong", "not one of this server's"),
        (PUBLIC_TEXT + "x", "not one of this server's"),
        (OLD_TEXT, "'old') is expired"),
        (GONE_TEXT, "'gone') is revoked"),
    ],
)
def test_other_keys_open_nothing(keyed: Gateway, text: str | None, reason: str) -> None:
    headers = {} if text is None else {"authorization": f"Bearer {text}"}
    seen = len(keyed.generator.seen)
    for path in ("/v1/chat/completions", "/v1/messages", "/v1/models", "/nothing"):
        response = keyed.http().post(path, json=CHAT, headers=headers)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.headers["x-should-retry"] == "false"
        assert reason in response.json()["error"]["message"]
        assert text is None or text not in response.text
    assert len(keyed.generator.seen) == seen


def test_official_clients_raise_their_own_errors(keyed: Gateway) -> None:
    with (
        openai.OpenAI(base_url=f"{keyed.urls.public}/v1", api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()
    with (
        anthropic.Anthropic(base_url=keyed.urls.public, api_key="wrong", max_retries=0) as other,
        pytest.raises(anthropic.AuthenticationError) as caught,
    ):
        other.messages.create(model=MODEL, max_tokens=5, messages=[{"role": "user", "content": "x"}])
    body = caught.value.response.json()
    assert (body["type"], body["error"]["type"]) == ("error", "authentication_error")


@pytest.mark.parametrize("path", ["/health", "/ready", "/version"])
def test_probes_need_no_key(keyed: Gateway, path: str) -> None:
    assert keyed.http().get(path).status_code == 200
    assert keyed.admin().get(path).status_code == 200


@pytest.mark.parametrize("path", ["/metrics", "/admin/status", "/openapi.json"])
def test_the_admin_address_needs_an_admin_key(keyed: Gateway, path: str) -> None:
    admin = keyed.admin()
    assert admin.get(path).status_code == 401
    refused = admin.get(path, headers={"x-api-key": PUBLIC_TEXT})
    assert refused.status_code == 403
    assert "for the API only" in refused.json()["error"]["message"]
    assert admin.get(path, headers={"x-api-key": ADMIN_TEXT}).status_code == 200


def test_metrics_can_be_opened_and_tell_who_asked(keyed: Gateway) -> None:
    keyed.http().post("/v1/chat/completions", json=CHAT, headers={"x-api-key": PUBLIC_TEXT})
    text = keyed.admin().get("/metrics", headers={"x-api-key": ADMIN_TEXT}).text
    assert f'pomona_caller_requests_total{{caller="{PUBLIC.id}",outcome="ok"}}' in text
    assert f'pomona_caller_tokens_total{{caller="{PUBLIC.id}"}}' in text
    settings = settings_with().model_copy(update={"access": AccessSettings(open_metrics=True)})
    with running(Gateway(keys=RING, settings=settings)) as gateway:
        assert gateway.admin().get("/metrics").status_code == 200
        assert gateway.admin().get("/admin/status").status_code == 401


def test_the_generator_is_told_who_asks(keyed: Gateway) -> None:
    keyed.http().post("/v1/chat/completions", json=CHAT, headers={"x-api-key": PUBLIC_TEXT})
    assert keyed.generator.seen[-1].caller == PUBLIC.id


def test_programs_of_this_machine_share_the_engine_by_session_and_keys_do_not(gateway: Gateway, keyed: Gateway) -> None:
    sessions = ("one", "one", "two", None)
    for asked in (gateway, keyed):
        for session in sessions:
            body = {**CHAT, "prompt_cache_key": session}
            assert asked.http().post("/v1/chat/completions", json=body, headers={"x-api-key": PUBLIC_TEXT}).status_code == 200
    one, again, two, none = (request.account for request in gateway.generator.seen)
    assert one == again
    assert len({one, two, none}) == 3
    assert len({request.account for request in keyed.generator.seen[-len(sessions) :]}) == 1


def test_a_new_key_closes_a_running_server_and_the_last_deletion_opens_it(tmp_path: Path) -> None:
    file, now = KeyFile(tmp_path / "keys.json"), [0.0]
    with running(Gateway(keys=WatchedKeys(file, lambda: now[0]))) as gateway:
        assert gateway.http().get("/v1/models").status_code == 200
        file.change(lambda keys: [*keys, PUBLIC])
        now[0] += 1
        assert gateway.http().get("/v1/models").status_code == 401
        assert gateway.http().get("/v1/models", headers={"x-api-key": PUBLIC_TEXT}).status_code == 200
        file.change(lambda keys: [replace(key, revoked=1) for key in keys])
        now[0] += 1
        assert gateway.http().get("/v1/models").status_code == 401
        file.change(lambda keys: [])
        now[0] += 1
        assert gateway.http().get("/v1/models").status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:11440", 200),
        ("app.localhost", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:11440", 200),
        ("192.168.1.7", 200),
        ("host.docker.internal:11440", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example:11440", 403),
        ("", 403),
    ],
)
def test_an_open_server_answers_only_to_names_of_its_own(gateway: Gateway, host: str, status: int) -> None:
    response = gateway.http().post("/v1/chat/completions", json=CHAT, headers={"host": host})
    assert response.status_code == status
    assert gateway.admin().get("/metrics", headers={"host": host}).status_code == status


def test_more_names_can_be_allowed_and_keys_make_the_name_unimportant(keyed: Gateway) -> None:
    settings = settings_with().model_copy(update={"access": AccessSettings(allowed_hosts=("model.example",))})
    with running(Gateway(settings=settings)) as gateway:
        assert gateway.http().get("/v1/models", headers={"host": "model.example:80"}).status_code == 200
    assert keyed.http().get("/v1/models", headers={"host": "any.example", "x-api-key": PUBLIC_TEXT}).status_code == 200


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:3000", True),
        ("http://localhost", True),
        ("http://127.0.0.1:8080", True),
        ("https://evil.example", False),
        ("http://localhost.evil.example", False),
        ("http://localhost:3000.evil.example", False),
        ("null", False),
    ],
)
def test_pages_of_this_machine_may_call_the_api_and_no_others(gateway: Gateway, origin: str, allowed: bool) -> None:
    asked = {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    preflight = gateway.http().options("/v1/chat/completions", headers=asked)
    assert (preflight.status_code == 200) is allowed
    assert preflight.headers.get("access-control-allow-origin") == (origin if allowed else None)
    response = gateway.http().post("/v1/chat/completions", json=CHAT, headers={"origin": origin})
    assert response.status_code == (200 if allowed else 403)
    assert response.headers.get("access-control-allow-origin") == (origin if allowed else None)


def test_a_page_may_read_errors_and_the_headers_about_limits(keyed: Gateway) -> None:
    preflight = {"origin": "http://localhost:3000", "access-control-request-method": "POST"}
    assert keyed.http().options("/v1/models", headers=preflight).status_code == 200
    response = keyed.http().get("/v1/models", headers={"origin": "http://localhost:3000"})
    assert response.status_code == 401
    assert response.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "retry-after" in response.headers["access-control-expose-headers"]


@pytest.mark.parametrize(("pattern", "origin"), [("*", "https://any.example"), ("https://*.corp.example", "https://chat.corp.example")])
def test_more_pages_can_be_allowed(pattern: str, origin: str) -> None:
    settings = settings_with().model_copy(update={"access": AccessSettings(allowed_origins=(pattern,))})
    with running(Gateway(settings=settings)) as gateway:
        response = gateway.http().post("/v1/chat/completions", json=CHAT, headers={"origin": origin})
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] in {origin, "*"}
        if pattern != "*":
            assert gateway.http().post("/v1/chat/completions", json=CHAT, headers={"origin": "https://corp.evil"}).status_code == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "", "box.example"])
def test_a_server_that_others_can_reach_needs_a_key_to_start(host: str) -> None:
    settings = Settings(server=ServerSettings(host=host))
    with pytest.raises(ConfigurationError, match=r"server\.host = .* lets other machines in.*--insecure"):
        check_exposure(settings, lambda _: False)
    check_exposure(settings, lambda scope: scope == "public")
    check_exposure(settings.model_copy(update={"access": AccessSettings(insecure=True)}), lambda _: False)


def test_an_open_admin_address_needs_an_admin_key() -> None:
    with pytest.raises(ConfigurationError, match=r"server\.admin_host.*--scope admin"):
        check_exposure(Settings(server=ServerSettings(admin_host="0.0.0.0")), lambda scope: scope == "public")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_a_server_of_this_machine_alone_needs_none(host: str) -> None:
    check_exposure(Settings(server=ServerSettings(host=host, admin_host=host)), lambda _: False)


def test_a_server_that_lost_its_keys_stays_closed_to_other_machines() -> None:
    with running(Gateway(settings=settings_with(host="0.0.0.0"))) as gateway:
        response = gateway.http().get("/v1/models")
        assert response.status_code == 401
        assert "keys:create" in response.json()["error"]["message"]
        assert gateway.http().get("/health").status_code == 200
    insecure = settings_with(host="0.0.0.0").model_copy(update={"access": AccessSettings(insecure=True)})
    with running(Gateway(settings=insecure)) as gateway:
        assert gateway.http().get("/v1/models", headers={"host": "any.example"}).status_code == 200


def test_anonymous_callers_have_limits_of_their_own() -> None:
    settings = settings_with().model_copy(update={"limits": LimitsSettings(anonymous_requests_per_minute=2)})
    with running(Gateway(settings=settings)) as gateway:
        statuses = [gateway.http().post("/v1/chat/completions", json=CHAT).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert gateway.http().get("/v1/models").status_code == 200


def test_plain_httpx_gets_a_whole_error(keyed: Gateway) -> None:
    response = httpx.get(f"{keyed.urls.public}/v1/models", headers={"anthropic-version": "2023-06-01"})
    assert response.json()["error"]["type"] == "authentication_error"
    assert response.headers["request-id"] == response.json()["request_id"]
