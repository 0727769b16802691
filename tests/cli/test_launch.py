"""`pomona launch`: a client finds the model, and the person's own words reach the client."""

import json
import stat
import sys
from pathlib import Path

import pytest

from tests.api.gateway import MODEL, Gateway
from tests.cli.conftest import Pomona, PomonaProcess

CLIENT = f"""#!{sys.executable}
import json, os, sys
print(json.dumps({{"arguments": sys.argv[1:], "url": os.environ.get("ANTHROPIC_BASE_URL"), "key": os.environ.get("ANTHROPIC_API_KEY")}}))
sys.exit(7)
"""


@pytest.fixture
def installed(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `claude` that tells what it was given."""
    folder = home / "bin"
    folder.mkdir()
    program = folder / "claude"
    program.write_text(CLIENT, encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))
    return program


def test_a_client_is_started_on_the_server_and_its_exit_code_is_ours(
    pomona_process: PomonaProcess, gateway: Gateway, installed: Path
) -> None:
    result = pomona_process(
        "launch", "--url", gateway.urls.public, "--full", "claude", "-p", "Hello", environment={"ANTHROPIC_API_KEY": "secret"}
    )

    assert result.returncode == 7
    told = json.loads(result.stdout)
    assert told == {"arguments": ["-p", "Hello"], "url": gateway.urls.public, "key": None}
    assert f"Claude Code on {MODEL} at {gateway.urls.public}" in result.stderr


def test_printing_starts_nothing_and_shows_what_would_be_set(pomona: Pomona, gateway: Gateway) -> None:
    result = pomona("launch", "--url", gateway.urls.public, "--print", "claude", "-p", "two words")

    assert result.exit_code == 0
    assert f"export ANTHROPIC_BASE_URL={gateway.urls.public}\n" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("claude --bare")  # the double's context is small
    assert result.stdout.splitlines()[-1].endswith("-p 'two words'")


def test_without_a_server_the_plan_is_for_one_of_our_own(pomona: Pomona) -> None:
    plan = json.loads(pomona("launch", "--json", "--set", "server.port=1", "codex").stdout)

    assert 'model="pomona-tiny"' in plan["command"]
    assert plan["environment"] == {"POMONA_API_KEY": "pomona"}


def test_the_key_of_the_settings_is_given_to_the_client(pomona: Pomona) -> None:
    plan = json.loads(pomona("launch", "--json", "--set", "server.port=1", "--set", "access.key=pomona_sk_x", "codex").stdout)

    assert plan["environment"] == {"POMONA_API_KEY": "pomona_sk_x"}


def test_the_clients_are_listed(pomona: Pomona, installed: Path) -> None:
    rows = {row["client"]: row["installed"] for row in json.loads(pomona("launch", "--json").stdout)}

    assert rows["claude"] is True
    assert rows["codex"] is False
    assert "codex     Codex (not installed: npm install -g @openai/codex)" in pomona("launch").stdout


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("launch", "nope"), "'nope' is no client that Pomona can launch. Choose one of claude, codex"),
        (("launch", "claud"), "'claud' is no client that Pomona can launch. Did you mean 'claude'? Choose"),
        (("launch", "claude"), "Install it: npm install -g @anthropic-ai/claude-code"),
        (("launch", "--url", "http://127.0.0.1:1", "--print", "claude"), "No server answers at http://127.0.0.1:1"),
    ],
)
def test_what_cannot_be_launched_is_told(
    pomona: Pomona, monkeypatch: pytest.MonkeyPatch, home: Path, arguments: tuple[str, ...], part: str
) -> None:
    monkeypatch.setenv("PATH", str(home))

    result = pomona(*arguments)

    assert result.exit_code != 0
    assert part in result.stderr


def test_a_model_that_the_server_lacks_is_named(pomona: Pomona, gateway: Gateway) -> None:
    result = pomona("launch", "--url", gateway.urls.public, "-m", "other", "--print", "claude")

    assert result.exit_code != 0
    assert f"does not serve 'other'. It serves: '{MODEL}', 'alias'." in result.stderr
