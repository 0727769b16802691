"""`doctor` on this very machine, which is made ill in places."""

import json
import socket
from dataclasses import replace

import pytest

from pomona.ops.doctor.gather_service import look_at_port
from tests.api.gateway import READY, Gateway
from tests.cli.conftest import Pomona


def findings(pomona: Pomona, *arguments: str) -> dict[str, dict[str, str]]:
    result = pomona("doctor", "--json", *arguments)
    found = {finding["check"]: finding for finding in json.loads(result.stdout)}
    assert result.exit_code == int(any(finding["state"] == "fail" for finding in found.values()))
    return found


def test_a_machine_that_runs_these_tests_is_fit(pomona: Pomona) -> None:
    found = findings(pomona, "--set", "server.port=0", "--set", "server.admin_port=0")

    assert len(found) >= 15
    assert [finding for finding in found.values() if finding["state"] == "fail"] == []
    assert "cpu" in found["device"]["found"] or "cuda" in found["device"]["found"] or "metal" in found["device"]["found"]


def test_what_is_wrong_is_found_together(pomona: Pomona, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POMONA_SERVER__PROT", "1")

    result = pomona("doctor", "--set", "models.device=cpu")

    assert result.exit_code == 1
    assert "✗ settings" in result.stdout
    assert "server.prot" in result.stdout
    assert "to mend." in result.stdout


def test_ports_are_told_apart(gateway: Gateway) -> None:
    pomona_port = int(gateway.urls.admin.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert look_at_port("127.0.0.1", other.getsockname()[1]).state == "taken"
    assert look_at_port("127.0.0.1", pomona_port).state == "pomona"
    assert look_at_port("127.0.0.1", 0).state == "free"
    assert look_at_port("192.0.2.1", 11440).state == "forbidden"


def test_a_running_server_is_examined(pomona: Pomona, gateway: Gateway) -> None:
    port = gateway.urls.admin.rpartition(":")[2]

    found = findings(pomona, "--set", f"server.admin_port={port}", "--set", "server.port=0")

    assert found["server"]["state"] == found["admin port"]["state"] == "ok"
    assert "Pomona" in found["server"]["found"]


def test_a_server_that_is_ill_is_told(pomona: Pomona, gateway: Gateway) -> None:
    gateway.status.reports = (replace(READY, state="failed", problem="the device is gone"),)
    port = gateway.urls.admin.rpartition(":")[2]

    found = findings(pomona, "--set", f"server.admin_port={port}", "--set", "server.port=0")

    assert found["server"]["state"] == "fail"
    assert "the device is gone" in found["server"]["found"]
