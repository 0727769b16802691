"""`pomona trace` against a real gateway in front of doubles."""

import io
import json
import re
import threading
from collections.abc import Callable, Generator
from itertools import count
from typing import Any

import pytest
from click.testing import Result

from pomona.cli.tracing import listing, waterfall
from pomona.core.generation import GenerateRequest
from pomona.core.tracing.times import Delay, RowTimes, Span
from tests.api.gateway import MODEL, Gateway, running
from tests.cli.conftest import Pomona
from tests.doubles import Script, answer

Ask = Callable[..., Result]


@pytest.fixture
def gateway() -> Generator[Gateway]:
    """One of its own, which remembers nothing."""
    with running(Gateway()) as served:
        yield served
        served.reset()


@pytest.fixture
def ask(pomona: Pomona, gateway: Gateway) -> Ask:
    """The command, of the gateway."""

    def run(*arguments: str) -> Result:
        return pomona("trace", *arguments, "--url", gateway.urls.admin)

    return run


def stalled(request: GenerateRequest) -> Script:
    """An answer that stood by for another's prompt."""
    trace = request.trace
    assert trace is not None
    trace.enter_engine()
    span = Span(name="decode", start=0.0, seconds=90.0, own=30.0, behind=60.0)
    trace.note_awaited()
    delay = Delay(by="other", seconds=60.0, tokens=2048, decoding=True)
    trace.note_times(RowTimes(began=trace.since, seconds=90.0, spans=(span,), delays=(delay,)), last=True)
    return answer("Hello", prompt_tokens=5, cached_tokens=2)


def chat(gateway: Gateway, id: str, **fields: object) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], **fields}
    gateway.http().post("/v1/chat/completions", json=body, headers={"x-request-id": id})


def test_the_last_requests_are_listed(ask: Ask, gateway: Gateway) -> None:
    chat(gateway, "r-1")
    chat(gateway, "r-2", temperature=17)
    lines = ask().stdout.splitlines()
    assert lines[0].split()[:5] == ["time", "id", "endpoint", "model", "outcome"]
    assert [line.split()[1] for line in lines[1:]] == ["r-2", "r-1"]
    assert "invalid_request" in lines[1]
    assert [line.split()[1] for line in ask("--outcome", "ok").stdout.splitlines()[1:]] == ["r-1"]
    assert "1 more; `--limit 2` shows them." in ask("--limit", "1").stdout
    assert json.loads(ask("--slowest", "--json").stdout)["found"] == 2


def test_nothing_to_list_is_said(ask: Ask, gateway: Gateway) -> None:
    assert ask().stdout.startswith("No request has come yet.")
    chat(gateway, "r-1")
    assert ask("--running").stdout.startswith("None of the 1 requests that are kept is like that")


def test_one_request_is_plain_text_for_a_pipe(ask: Ask, gateway: Gateway) -> None:
    gateway.generator.choose = stalled
    chat(gateway, "r-1")
    shown = ask("r-1").stdout
    assert shown.startswith("r-1  chatcmpl-")
    assert [line.split()[:2] for line in shown.splitlines() if line.endswith("receiving the request's body") and "%" in line] == [
        ["0.0", "ms"]
    ]
    assert "tokens: 5 in the prompt, 2 of them cached, 1 in the answer" in shown
    assert "\x1b" not in shown
    assert json.loads(ask("r-1", "--json").stdout)["id"] == "r-1"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("r-1", "--slowest"), "An ID says which request is meant"),
        (("--follow", "--slowest"), "leave out --slowest and --running"),
        (("--follow", "--running"), "leave out --slowest and --running"),
        (("a/b",), "'a/b' is no id. Ids have letters"),
        (("..",), "'..' is no id"),
        (("",), "'' is no id"),
        (("--url", "localhost:1"), "'localhost:1' is no address. Addresses begin with http://"),
    ],
)
def test_what_does_not_make_sense_is_refused(pomona: Pomona, arguments: tuple[str, ...], why: str) -> None:
    result = pomona("trace", *arguments)
    assert (result.exit_code, why in result.stderr) == (2, True)


@pytest.mark.parametrize(("width", "shown"), [(200, 10), (90, 5), (62, 4)])
def test_a_narrow_terminal_gets_fewer_columns_and_whole_words(monkeypatch: pytest.MonkeyPatch, width: int, shown: int) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    for name, value in {"COLUMNS": str(width), "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, value)
    request = {"id": f"req_{'1' * 32}", "endpoint": "chat.completions", "model": "pomona-tiny", "outcome": "ok", "running": False}
    numbers = {
        "arrived_at": 0.0,
        "seconds": 1.0,
        "first_token_seconds": 0.5,
        "prompt_tokens": 9,
        "cached_tokens": 4,
        "completion_tokens": 3,
    }
    longest = {"name": "put_back", "phase": "put_back", "seconds": 0.5}
    listing.print_requests({"kept": 1, "found": 1, "requests": [{**request, **numbers, "longest": longest}]}, color=False)
    lines = re.sub("\x1b\\[[0-9;]*m", "", screen.getvalue()).splitlines()
    assert len(re.split("  +", lines[0].strip())) == shown
    assert all(len(line.rstrip()) <= width for line in lines)
    assert len(lines) == 2 if width >= 80 else len(lines) <= 4
    assert "put back" in screen.getvalue()


def test_an_id_that_is_not_kept_says_what_to_do(ask: Ask) -> None:
    result = ask("r-0")
    assert (result.exit_code, "`pomona trace`) lists what is kept" in result.stderr) == (66, True)


def test_no_server_says_what_to_do(pomona: Pomona) -> None:
    result = pomona("trace", "--url", "http://127.0.0.1:9")
    assert (result.exit_code, "Start one with `pomona serve`" in result.stderr) == (75, True)


def test_following_shows_requests_as_they_end_until_the_server_goes(pomona: Pomona, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = list[str]()

    def note(text: str, *, err: bool = False, **_: object) -> None:
        if not err:
            lines.append(text)

    monkeypatch.setattr("click.echo", note)
    gateway = Gateway()
    with running(gateway):
        chat(gateway, "r-before")
        asked = threading.Thread(target=lambda: pomona("trace", "--follow", "--url", gateway.urls.admin))
        asked.start()
        numbers = count()
        while len(lines) < 6:
            chat(gateway, f"r-{next(numbers)}")
            asked.join(0.02)
            assert asked.is_alive()
        gateway.reset()
    asked.join(60)
    ids = [line.split()[1] for line in lines]
    assert ids == [f"r-{number}" for number in range(int(ids[0][2:]), int(ids[0][2:]) + len(ids))]


def test_an_id_is_followed_to_its_end(ask: Ask, gateway: Gateway) -> None:
    gateway.generator.script = (*answer("Hello")[:2], gateway.generator.ended)
    found: list[Result] = []
    body = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "stream": True}
    with gateway.http().stream("POST", "/v1/chat/completions", json=body, headers={"x-request-id": "r-1"}) as response:
        chunks = response.iter_bytes()
        next(chunks)
        asked = threading.Thread(target=lambda: found.append(ask("r-1", "--follow")))
        asked.start()
        asked.join(0.1)
        assert asked.is_alive()
    asked.join(60)
    assert "cancelled" in found[0].stdout


DOCUMENT: dict[str, Any] = {
    "id": "req_1",
    "answer_ids": ["chatcmpl-1"],
    "endpoint": "chat.completions",
    "model": "tiny\x1b[2J",
    "outcome": "ok",
    "running": False,
    "seconds": 10.0,
    "first_token_seconds": 5.0,
    "summary": ["5 s of 10 s: waited behind the prompt of req_2 (9 tokens)"],
    "timeline": [
        {"name": "read", "text": "", "start": 0.0, "seconds": 0.001, "parts": [{"name": "read", "phase": "receive", "seconds": 0.001}]},
        {"name": "turn", "text": "", "start": 0.001, "seconds": 4.999, "parts": [{"name": "behind", "phase": "behind", "seconds": 4.999}]},
        {
            "name": "decode",
            "text": "",
            "start": 5.0,
            "seconds": 5.0,
            "parts": [{"name": "decode", "phase": "decode", "seconds": 2.5}, {"name": "stall", "phase": "stall", "seconds": 2.5}],
        },
    ],
    "tokens": {"prompt": 8, "cached": 4, "cached_from_disk": 4, "completion": 3, "guessed": 4, "guessed_right": 2},
    "engine": {"prefill_passes": 1, "prefill_seconds": 1.0, "decode_passes": 3, "decode_seconds": 2.5, "decode_share_seconds": 1.25},
    "beside": {"parse_seconds": 0.1, "encode_seconds": 0.1, "write_seconds": 0.1},
    "trace_parent": {"trace_id": "ab" * 16, "span_id": "cd" * 8, "sampled": True},
}


class Terminal(io.StringIO):
    """What stands for a terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True


@pytest.mark.parametrize("color", [None, False])
def test_a_terminal_gets_bars_that_are_as_long_as_the_times(monkeypatch: pytest.MonkeyPatch, color: bool | None) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    for name, value in {"COLUMNS": "62", "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, value)
    waterfall.print_trace(DOCUMENT, color=color)
    lines = [line for line in screen.getvalue().splitlines() if line.startswith(("turn", "decode  "))]
    assert "\x1b[2J" not in screen.getvalue()
    bars = [(line.count("█"), line.count("▒")) for line in lines]
    assert bars == [(0, 20), (10, 10)]
    assert ("\x1b[31m" in screen.getvalue()) == (color is None)
    assert "and 1 short ones" in screen.getvalue()
