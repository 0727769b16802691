"""The benchmarks from the command line."""

import json

import pytest

from tests.api.gateway import MODEL, Gateway
from tests.cli.conftest import Pomona
from tests.doubles import answer


def test_a_server_is_measured(pomona: Pomona, gateway: Gateway) -> None:
    gateway.generator.reset(answer("a", "b", "c", prompt_tokens=40))

    result = pomona("bench:serve", "--url", gateway.urls.public, "-c", "2", "-n", "6", "--output-tokens", "8", "--json")

    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (document["plan"]["model"], document["plan"]["concurrency"]) == (MODEL, 2)
    assert (document["report"]["sent"], document["report"]["finished"], document["report"]["completion_tokens"]) == (6, 6, 18)
    assert document["report"]["first_token_seconds"]["count"] == 6
    assert [request.max_tokens for request in gateway.generator.seen[-6:]] == [8] * 6


def test_the_table_has_percentiles(pomona: Pomona, gateway: Gateway) -> None:
    result = pomona("bench:serve", "--url", gateway.urls.public, "-r", "500", "-n", "5")

    assert "500 arrivals per second" in result.stdout
    assert result.stdout.splitlines()[1].split() == ["mean", "p50", "p90", "p99", "most"]
    assert "5 of 5 finished" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["bench:serve", "--url", "http://example.com"], 2, "--allow-remote"),
        (["bench:serve", "--url", "example.com"], 65, "no address of a server"),
        (["bench:serve", "--url", "http://127.0.0.1:9"], 75, "No server answers"),
        (["bench:serve", "-c", "1", "-r", "1"], 2, "Choose one"),
        (["bench:serve", "--prompt-tokens", "many"], 65, "'many'"),
        (["bench:serve", "-d", "0"], 2, "--seconds"),
        (["bench:engine", "--batch", "1,x"], 2, "1,8,32"),
        (["bench:engine", "--batch", "0"], 2, "'0'"),
        (["bench:engine", "-m", "no-such-model"], 66, "no-such-model"),
    ],
)
def test_mistakes_are_explained(pomona: Pomona, arguments: list[str], code: int, words: str) -> None:
    result = pomona(*arguments)

    assert result.exit_code == code
    assert words in result.stderr


def test_the_engine_is_measured(pomona: Pomona) -> None:
    result = pomona("bench:engine", "--batch", "1,2", "--prompt-tokens", "16", "--output-tokens", "6", "--json")

    document = json.loads(result.stdout)
    assert (document["model"], [entry["batch"] for entry in document["results"]]) == ("pomona-tiny", [1, 2])
    assert all(entry["prefill_tokens_per_second"] > 0 and entry["decode_tokens_per_second"] > 0 for entry in document["results"])


def test_an_engine_that_refuses_says_why(pomona: Pomona) -> None:
    result = pomona("bench:engine", "--batch", "1", "--prompt-tokens", "100000", "--output-tokens", "6")

    assert result.exit_code == 65
    assert "context" in result.stderr
