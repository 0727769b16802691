"""`pomona ps`, `load`, `unload`, `pin` and `events` against a real gateway in front of doubles."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from click.testing import Result

from pomona.control.callers import Scope
from pomona.control.keys import KeyRing, make_key
from pomona.core.errors import DoesNotFit
from pomona.core.events import ErrorOccurred, GenerationToken, ModelLoaded
from pomona.core.status import MemoryReport
from tests.api.gateway import MODEL, STATUSES, Gateway, running
from tests.cli.conftest import Pomona
from tests.doubles import GB

READER = "acme/reader"
Ask = Callable[..., Result]
SCOPES: tuple[Scope, Scope] = ("admin", "public")


@pytest.fixture
def ask(pomona: Pomona, gateway: Gateway) -> Ask:
    """A command that talks to the gateway."""

    def run(*arguments: str) -> Result:
        return pomona(*arguments, "--url", gateway.urls.admin)

    return run


def test_ps_shows_what_is_in_memory(ask: Ask) -> None:
    lines = ask("ps").stdout.splitlines()
    assert lines[0].split() == ["model", "task", "state", "memory", "active", "waiting", "stays", "pinned"]
    assert lines[1].split() == [MODEL, "generate", "ready", "2.0", "GiB", "0", "0", "for", "ever"]
    assert lines[2:] == ["memory: 3.0 GiB of 50.0 GiB planned, 40.0 GiB free, safe"]


def test_ps_says_how_long_each_model_stays(ask: Ask, gateway: Gateway) -> None:
    ready = STATUSES[0]
    gateway.residents.models = [
        replace(ready, id="busy", active_requests=2),
        replace(ready, id="late", expires_at=1.0),
        replace(ready, id="soon", expires_at=4e9, pinned=True),
        replace(ready, id="held", state="waiting", waiting_requests=3),
        replace(ready, id="gone", state="unloaded"),
        replace(ready, id="sick", state="failed", problem="config.json is broken"),
    ]
    gateway.residents.report = MemoryReport(total=GB, free=GB // 2, budget=GB, planned=GB, guard="critical")
    shown = ask("ps").stdout
    assert [line.split()[0] for line in shown.splitlines()] == ["model", "busy", "late", "soon", "held", "memory:"]
    assert "busy" in shown.splitlines()[1].split()[-1]
    assert shown.splitlines()[2].endswith("goes now")
    assert shown.splitlines()[3].endswith("more  yes")
    assert "critical" in shown
    everything = ask("ps", "--all").stdout
    assert "gone" in everything
    assert "config.json is broken" in everything


def test_ps_for_programs(ask: Ask) -> None:
    document = json.loads(ask("ps", "--json").stdout)
    assert [model["id"] for model in document["models"]] == [MODEL]
    assert document["memory"]["status"] == "safe"
    assert len(json.loads(ask("ps", "--all", "--json").stdout)["models"]) == 3


def test_ps_of_an_empty_server(ask: Ask, gateway: Gateway) -> None:
    gateway.residents.models = []
    assert ask("ps").stdout.startswith("No model is in memory")


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_ps_watches_until_the_server_goes(ask: Ask, gateway: Gateway, options: tuple[str, ...]) -> None:
    found: list[Result] = []
    thread = threading.Thread(target=lambda: found.append(ask("ps", "--watch", "0.05", *options)))
    thread.start()
    gateway.wait_until(lambda: gateway.residents.looks >= 2)
    gateway.set(gateway.stop)
    thread.join(timeout=60)
    assert found[0].exit_code in {69, 75}
    assert found[0].stdout.count(MODEL) >= 2


def test_all_models_are_shown_however_many(ask: Ask, gateway: Gateway) -> None:
    gateway.residents.models = [replace(STATUSES[1], id=f"model-{number}") for number in range(1003)]
    assert len(json.loads(ask("ps", "--all", "--json").stdout)["models"]) == 1003


def test_load_waits_and_says_what_it_took(ask: Ask, gateway: Gateway) -> None:
    assert ask("load", READER, "--keep-alive", "10m", "--pin").stdout == f"{READER} is loaded in 1.50 s: 2.0 GiB, pinned.\n"
    assert gateway.residents.asked == [("load", READER, 600.0), ("pin", READER, True)]
    assert json.loads(ask("load", READER, "--json").stdout)["status"] == "loaded"


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (("load", "no/such"), 66, "There is no model 'no/such' here"),
        (("load", READER, "--keep-alive", "soon"), 65, "keep_alive = 'soon' is no time"),
        (("unload", READER), 1, f"'{READER}' is not loaded"),
        (("unload",), 2, "Give either the NAME of a model or --all"),
        (("unload", READER, "--all"), 2, "Give either the NAME of a model or --all"),
        (("pin", "no/such"), 66, "There is no model"),
        (("events", "--model", "no/such"), 66, "There is no model"),
    ],
)
def test_refusals_are_clear(ask: Ask, arguments: tuple[str, ...], code: int, part: str) -> None:
    result = ask(*arguments)
    assert (result.exit_code, part in result.stderr) == (code, True), result.stderr


def test_a_model_that_does_not_fit_has_a_code_of_its_own(ask: Ask, gateway: Gateway) -> None:
    gateway.residents.failure = DoesNotFit("It needs 90 GB; this machine has 50.")
    result = ask("load", READER)
    assert (result.exit_code, result.stderr) == (71, "error: It needs 90 GB; this machine has 50.\n")


def test_unload_frees(ask: Ask, gateway: Gateway) -> None:
    assert ask("unload", "alias", "--force").stdout == f"{MODEL} is unloaded in 250.0 ms: 2.0 GiB freed.\n"
    assert gateway.residents.asked == [("unload", MODEL, True)]


def test_unload_all(ask: Ask) -> None:
    ask("load", READER)
    assert [report["model"] for report in json.loads(ask("unload", "--all", "--json").stdout)] == [MODEL, READER]
    assert ask("unload", "--all").stdout == "No model was loaded.\n"


def test_pins(ask: Ask, gateway: Gateway) -> None:
    assert ask("pin", READER).stdout == f"{READER} is pinned; `pomona load` loads it.\n"
    assert ask("pin", MODEL).stdout == f"{MODEL} is pinned.\n"
    assert ask("pin", READER, "--off").stdout == f"{READER} is not pinned.\n"
    assert [status.pinned for status in gateway.residents.models] == [True, False, False]
    assert json.loads(ask("pin", MODEL, "--json").stdout)["pinned"] is True


def following(gateway: Gateway, ask: Ask, *arguments: str, events: tuple[object, ...]) -> Result:
    """What `pomona events` prints while `events` happen."""
    found: list[Result] = []
    thread = threading.Thread(target=lambda: found.append(ask("events", *arguments)))
    thread.start()
    gateway.wait_until(lambda: gateway.residents.events.watched)
    gateway.publish(*events)  # pyright: ignore[reportArgumentType]
    thread.join(timeout=60)
    return found[0]


STORY = (
    ModelLoaded(model=MODEL, seconds=1.0, at=0.0),
    GenerationToken(request="r", model=MODEL, text="\x1b[31mHi", at=0.0),
    ErrorOccurred(code="Timeout", message="It took too long.", model="other", at=0.0),
    ModelLoaded(model="last", seconds=2.0, at=0.0),
)


def test_events_are_followed(gateway: Gateway, ask: Ask) -> None:
    lines = following(gateway, ask, "-n", "3", events=STORY).stdout.splitlines()
    assert [line.split()[1:3] for line in lines] == [["model:loaded", MODEL], ["error", "other"], ["model:loaded", "last"]]
    assert "message='It took too long.'" in lines[1]


def test_events_for_programs_and_of_one_model(gateway: Gateway, ask: Ask) -> None:
    result = following(gateway, ask, "--json", "--tokens", "--model", MODEL, "-n", "2", events=STORY)
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["event"] for event in events] == ["model:loaded", "generation:token"]
    assert events[1]["text"] == "\x1b[31mHi"


def test_the_terminal_is_not_steered_by_what_models_write(gateway: Gateway, ask: Ask) -> None:
    assert "\x1b" not in following(gateway, ask, "--tokens", "-n", "4", events=STORY).stdout


@pytest.mark.parametrize("command", [("ps",), ("load", "x"), ("unload", "x"), ("unload", "--all"), ("pin", "x"), ("events",)])
def test_without_a_server_they_say_where_they_looked(pomona: Pomona, command: tuple[str, ...]) -> None:
    result = pomona(*command, "--set", "server.admin_port=1", "--set", "server.admin_host=0.0.0.0")
    assert result.exit_code == 75
    assert "No server answers at http://127.0.0.1:1." in result.stderr
    assert "`pomona serve`" in result.stderr


def test_a_server_with_keys_wants_one_of_scope_admin(pomona: Pomona) -> None:
    (admin, admin_text), (public, public_text) = (make_key(scope, now=0.0, scope=scope) for scope in SCOPES)
    with running(Gateway(keys=KeyRing((admin, public)))) as gateway:
        url = ("--url", gateway.urls.admin)
        none, wrong = pomona("ps", *url), pomona("ps", *url, "--api-key", public_text)
        right, set_right = pomona("ps", *url, "--api-key", admin_text), pomona("ps", *url, "--set", f"access.key={admin_text}")
    assert [none.exit_code, wrong.exit_code, right.exit_code, set_right.exit_code] == [77, 77, 0, 0]
    assert "--scope admin" in none.stderr
    assert "--scope admin" in wrong.stderr
