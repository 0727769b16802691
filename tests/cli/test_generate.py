"""`generate` against a server with a double behind it."""

import json

import pytest

from pomona.core.errors import EngineFailed, InvalidRequest
from pomona.core.generation import SamplingParams
from tests.api.gateway import MODEL, Gateway
from tests.cli.conftest import Pomona
from tests.doubles import answer


def test_the_answer_goes_to_standard_output(pomona: Pomona, gateway: Gateway) -> None:
    result = pomona("generate", "Name three apples.", "--url", gateway.urls.public)

    assert (result.exit_code, result.stdout) == (0, "Hello world\n")
    (request,) = gateway.generator.seen
    assert request.model == MODEL
    assert [(message.role, message.text) for message in request.messages or ()] == [("user", "Name three apples.")]


def test_options_reach_the_request(pomona: Pomona, gateway: Gateway) -> None:
    options = [
        "-s",
        "Be brief.",
        "-n",
        "7",
        "-t",
        "0.25",
        "--top-p",
        "0.5",
        "--seed",
        "9",
        "--stop",
        "END",
        "--stop",
        "\n\n",
        "-m",
        "alias",
    ]

    pomona("generate", "Hi", "--url", gateway.urls.public, *options)

    (request,) = gateway.generator.seen
    assert request.sampling == SamplingParams(temperature=0.25, top_p=0.5, seed=9)
    assert (request.max_tokens, request.stop, request.model) == (7, ("END", "\n\n"), "alias")
    assert [(message.role, message.text) for message in request.messages or ()] == [("system", "Be brief."), ("user", "Hi")]


@pytest.mark.parametrize("arguments", [["-"], []])
def test_the_prompt_may_come_from_standard_input(pomona: Pomona, gateway: Gateway, arguments: list[str]) -> None:
    pomona("generate", *arguments, "--raw", "--url", gateway.urls.public, stdin="Once upon\na time")

    (request,) = gateway.generator.seen
    assert (request.text, request.messages) == ("Once upon\na time", None)


def test_json_is_one_object(pomona: Pomona, gateway: Gateway) -> None:
    gateway.generator.reset(answer("a", "b", "c", prompt_tokens=5, cached_tokens=2, reason="length"))

    document = json.loads(pomona("generate", "Hi", "--json", "--url", gateway.urls.public).stdout)

    assert (document["text"], document["finish_reason"], document["model"]) == ("abc", "length", MODEL)
    counts = {"prompt_tokens": 5, "cached_tokens": 2, "completion_tokens": 3, "reasoning_tokens": 0, "total_tokens": 8}
    assert document["usage"] == counts | {"picture_tokens": 0, "drafted_tokens": 0, "accepted_tokens": 0}
    assert 0 < document["timings"]["first_token_seconds"] <= document["timings"]["total_seconds"]


def test_an_empty_answer_is_no_failure(pomona: Pomona, gateway: Gateway) -> None:
    gateway.generator.reset(answer())

    assert json.loads(pomona("generate", "Hi", "--json", "--url", gateway.urls.public).stdout)["text"] == ""


@pytest.mark.parametrize(
    ("error", "code"), [(InvalidRequest("The prompt is 'odd'."), 65), (EngineFailed("The engine died."), 69)], ids=["refused", "died"]
)
def test_a_refusal_of_the_server_is_told(pomona: Pomona, gateway: Gateway, error: Exception, code: int) -> None:
    gateway.generator.reset([error])

    result = pomona("generate", "Hi", "--url", gateway.urls.public)

    assert (result.exit_code, result.stderr) == (code, f"error: {error}\n")


def test_a_failure_in_the_middle_is_told_after_the_text(pomona: Pomona, gateway: Gateway) -> None:
    gateway.generator.reset([*answer("Hel", "lo")[:3], EngineFailed("The engine died.")])

    result = pomona("generate", "Hi", "--url", gateway.urls.public)

    assert (result.exit_code, result.stdout, result.stderr) == (69, "Hello", "error: The engine died.\n")


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        ([], "", "There is no prompt"),
        ([""], None, "There is no prompt"),
        (["x", "--raw", "-s", "y"], None, "--system needs the chat template"),
        (["x", "-n", "0"], None, "--max-tokens"),
        (["x", "-t", "-1"], None, "--temperature"),
        (["x", "--top-p", "0"], None, "--top-p"),
        (["x", "--device", "tpu"], None, "--device"),
    ],
)
def test_mistakes_are_explained(pomona: Pomona, arguments: list[str], stdin: str | None, words: str) -> None:
    result = pomona("generate", *arguments, stdin=stdin)

    assert result.exit_code == 2
    assert words in result.stderr


def test_nobody_at_the_url(pomona: Pomona) -> None:
    result = pomona("generate", "Hi", "--url", "http://127.0.0.1:9")

    assert result.exit_code == 75
    assert "pomona serve" in result.stderr


def test_a_running_local_server_answers(pomona: Pomona, gateway: Gateway) -> None:
    port = gateway.urls.public.rpartition(":")[2]

    result = pomona("generate", "Hi", "--set", f"server.port={port}", "-m", "alias")

    assert result.stdout == "Hello world\n"
    assert [request.model for request in gateway.generator.seen] == ["alias"]


def test_a_model_that_is_nowhere(pomona: Pomona) -> None:
    result = pomona("generate", "Hi", "-m", "no-such-model", "--alone")

    assert result.exit_code == 66
    assert "'no-such-model'" in result.stderr
    assert "list" in result.stderr
