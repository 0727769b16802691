"""The OpenAPI document is complete and true: schemathesis checks the running gateway against it.

The same by hand: `pomona serve`, then `schemathesis run http://127.0.0.1:11440/openapi.json --phases examples,coverage`.
"""

import string
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode

from pomona.server.openai.wire import ChatCompletion, Completion
from tests.api.gateway import MODEL, VECTOR_CARDS, Gateway

_RUN = "import gc, runpy; gc.disable(); runpy.run_module('schemathesis.cli', run_name='__main__', alter_sys=True)"
SCHEMATHESIS = (sys.executable, "-c", _RUN)
"""Its command line, undisturbed: parsing Python breaks on 3.11 where the collector or another thread runs in the midst (gh-106905)."""
EXAMPLES = 3
SCHEMA_CHECKS: Any = import_module("schemathesis.specs.openapi.checks")  # its types are not all known
SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.large_base_example)
RULES_BEYOND_SCHEMAS = {f"{prefix}{path}" for prefix in ("", "/v1") for path in ("/tokenize", "/apply-template", "/decisions")} | {
    "/v1/chat/completions",
    "/v1/completions",
    "/admin/unload",
}
"""Good random bodies may be refused here: rules such as "no two tools have one name" cannot be said in JSON Schema. Nor can
what is loaded when all is to be unloaded."""
LETTERS = {letter: 200 + place for place, letter in enumerate(string.ascii_uppercase)} | {"Yes": 300, "No": 301}


def operations(url: str) -> Iterator[Any]:
    """Every operation that the server at `url` describes."""
    schema: Any = schemathesis.openapi.from_url(f"{url}/openapi.json")
    for found in schema.get_all_operations():
        yield found.ok()


def complaints_of(operation: Any, mode: GenerationMode) -> list[str]:
    """What is wrong with the answers to some good or bad requests."""
    complaints: list[str] = []
    left_out: list[Any] = [SCHEMA_CHECKS.positive_data_acceptance] if operation.path in RULES_BEYOND_SCHEMAS else []

    @settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, phases=[Phase.generate], suppress_health_check=SLOW)
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case[Any]) -> None:
        response = case.call(timeout=60)
        try:
            case.validate_response(response, excluded_checks=left_out)
        except FailureGroup as failures:
            told = "; ".join(str(failure).split("\n")[0] for failure in failures.exceptions)
            complaints.append(f"{case.method} {case.path} {response.status_code}: {told} {response.text[:300]}")

    with suppress(Unsatisfiable):  # an operation without parameters takes no wrong ones
        check()
    return complaints


def test_every_operation_keeps_to_its_description(gateway: Gateway) -> None:
    found = [each for operation in operations(gateway.urls.public) for mode in GenerationMode for each in complaints_of(operation, mode)]
    assert found == []
    assert gateway.generator.running == 0


def test_the_command_line_of_schemathesis_finds_nothing(gateway: Gateway, tmp_path: Path) -> None:
    """Its examples are the document's, its coverage is each field at and beyond its bounds: all reach the model of the examples."""
    gateway.tokenization.known = LETTERS
    gateway.directory.cards += VECTOR_CARDS
    command = [*SCHEMATHESIS, "run", f"{gateway.urls.public}/openapi.json"]
    options = ["--phases", "examples,coverage", "--seed", "1", "--workers", "1", "--no-color", "--continue-on-failure"]
    found = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, found.stdout[-5000:]
    assert "33/33" in found.stdout


def test_every_route_is_described(gateway: Gateway) -> None:
    document = gateway.http().get("/openapi.json").json()
    probes = {"/health", "/ready", "/version"}
    assert {"/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses", "/v1/decisions", "/tokenize"} <= set(
        document["paths"]
    )
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            responses = operation["responses"]
            assert "killed its model's engine" in responses.get("422", {"description": "killed its model's engine"})["description"]
            assert "HTTPValidationError" not in str(responses)
            if path not in probes:
                assert {"200", "400", "401", "404", "429", "500", "503"} <= set(responses), (method, path)
            if method == "post" and "requestBody" in operation:
                assert {"413", "415"} <= set(responses), path


@pytest.mark.parametrize(("path", "kind"), [("chat/completions", ChatCompletion), ("completions", Completion)])
def test_answers_are_as_described(gateway: Gateway, path: str, kind: type[ChatCompletion] | type[Completion]) -> None:
    asked: dict[str, object] = {"messages": [{"role": "user", "content": "x"}]} if kind is ChatCompletion else {"prompt": "x"}
    response = gateway.http().post(f"/v1/{path}", json={"model": MODEL, **asked})
    assert kind.model_validate_json(response.content).choices[0].finish_reason == "stop"
