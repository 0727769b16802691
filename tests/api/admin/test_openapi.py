"""The admin address is described, and keeps to its description."""

import subprocess
from pathlib import Path

from schemathesis.generation import GenerationMode

from tests.api.gateway import Gateway
from tests.api.test_openapi import SCHEMATHESIS, complaints_of, operations

ENDLESS, UNLOADS_ALL = "/admin/events", "/admin/unload"
PLAIN = {"/health", "/ready", "/version", "/metrics"}


def test_every_admin_operation_keeps_to_its_description(gateway: Gateway) -> None:
    tried = [operation for operation in operations(gateway.urls.admin) if operation.path != ENDLESS]
    assert {"/admin/pull", "/admin/hub/search", "/admin/models/register", "/admin/aliases/{alias}"} <= {each.path for each in tried}
    assert [each for operation in tried for mode in GenerationMode for each in complaints_of(operation, mode)] == []


def test_the_command_line_of_schemathesis_finds_nothing_on_the_admin_address(gateway: Gateway, tmp_path: Path) -> None:
    gateway.directory.stands_in = "0"  # the name that is made up most often
    left_out = [word for path in (ENDLESS, UNLOADS_ALL) for word in ("--exclude-path", path)]
    command = [*SCHEMATHESIS, "run", f"{gateway.urls.admin}/openapi.json", *left_out]
    options = [
        "--phases",
        "examples,coverage",
        "--seed",
        "1",
        "--workers",
        "1",
        "--no-color",
        "--continue-on-failure",
        "--request-timeout",
        "60",
    ]
    found = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, found.stdout[-5000:]


def test_every_admin_route_is_described(gateway: Gateway) -> None:
    document = gateway.admin().get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            answers = set(operation["responses"])
            assert path in PLAIN or (answers & {"200", "201", "202"} and {"400", "401", "404", "500", "503"} <= answers), (method, path)
    load = document["paths"]["/admin/models/{name}/load"]["post"]
    assert {"202", "409", "502", "507"} <= set(load["responses"])
    assert load["requestBody"]["required"] is False
    assert list(document["paths"][ENDLESS]["get"]["responses"]["200"]["content"]) == ["text/event-stream"]
