"""`keys:create`, `keys:list` and `keys:revoke`."""

import json
import re
import stat
from pathlib import Path

import pytest

from pomona.control.key_file import KeyFile
from pomona.control.keys import KeyRing
from tests.cli.conftest import Pomona


@pytest.fixture
def keys_file(home: Path) -> Path:
    return home / "keys" / "keys.json"


@pytest.fixture
def run(pomona: Pomona, keys_file: Path, monkeypatch: pytest.MonkeyPatch) -> Pomona:
    monkeypatch.setenv("POMONA_ACCESS__KEYS_FILE", str(keys_file))
    return pomona


def test_a_key_is_printed_once_and_opens(run: Pomona, keys_file: Path) -> None:
    result = run("keys:create", "laptop")
    text = result.stdout.strip()

    assert result.exit_code == 0
    assert re.fullmatch(r"pomona_sk_[0-9a-f]{8}[\w-]{43}", text)
    assert "cannot be shown again" in result.stderr
    assert text not in keys_file.read_text(encoding="utf-8")
    assert stat.S_IMODE(keys_file.stat().st_mode) == 0o600
    found = KeyRing(KeyFile(keys_file).read()).find(text)
    assert found is not None
    assert found.name == "laptop"


def test_without_a_setting_keys_are_in_the_users_data_folder(pomona: Pomona, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    assert pomona("keys:create", "laptop").exit_code == 0
    assert (home / "data" / "pomona" / "keys.json").is_file()


def test_everything_that_was_asked_for_is_kept_and_listed(run: Pomona) -> None:
    options = ("--scope", "admin", "--requests-per-minute", "60", "--tokens-per-minute", "5000", "--concurrent", "2", "--priority", "low")
    made = json.loads(run("keys:create", "batch", *options, "--expires", "1.5", "--json").stdout)
    (listed,) = json.loads(run("keys:list", "--json").stdout)

    text = made.pop("key")
    assert made == listed
    assert text.startswith(listed["prefix"])
    limits = ("scope", "requests_per_minute", "tokens_per_minute", "concurrent", "priority", "state", "requests", "tokens", "last_used")
    assert [listed[name] for name in limits] == ["admin", 60, 5000, 2, "low", "active", 0, 0, None]
    assert listed["expires"] - listed["created"] == 1.5 * 86400
    table = run("keys:list").stdout
    assert "60 req/min, 5000 tok/min, 2 at a time" in table
    assert "never" in table
    assert text not in table


def test_an_empty_list_says_what_that_means(run: Pomona) -> None:
    result = run("keys:list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "keys:create" in result.stderr
    assert json.loads(run("keys:list", "--json").stdout) == []


@pytest.mark.parametrize("how", ["name", "id", "prefix", "key"])
def test_a_key_is_revoked_by_whatever_names_it(run: Pomona, how: str) -> None:
    made = json.loads(run("keys:create", "laptop", "--json").stdout)
    run("keys:create", "other")

    result = run("keys:revoke", made[how], "--yes")

    assert result.exit_code == 0
    assert "is revoked" in result.stderr
    assert [key["state"] for key in json.loads(run("keys:list", "--json").stdout)] == ["revoked", "active"]
    assert run("keys:create", "laptop").exit_code == 0  # the name is free again
    assert run("keys:revoke", "laptop", "--yes").exit_code == 0
    assert [key["state"] for key in json.loads(run("keys:list", "--json").stdout)] == ["revoked", "active", "revoked"]


def test_revoking_asks_first(run: Pomona) -> None:
    run("keys:create", "laptop")

    assert run("keys:revoke", "laptop").exit_code == 130
    assert json.loads(run("keys:list", "--json").stdout)[0]["state"] == "active"


def test_a_question_can_be_answered(pomona: Pomona) -> None:
    pomona("keys:create", "laptop")
    assert pomona("keys:revoke", "laptop", stdin="n\n").exit_code == 130
    result = pomona("keys:revoke", "laptop", "--delete", stdin="y\n")
    assert result.exit_code == 0
    assert "Delete the key 'laptop'" in result.stderr
    assert json.loads(pomona("keys:list", "--json").stdout) == []


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("keys:create", "laptop"), "There is a key 'laptop' already"),
        (("keys:create", " "), "The name ' ' will not do"),
        (("keys:create", "a\nb"), "The name 'a\\nb' will not do"),
        (("keys:create", "x", "--concurrent", "0"), "0 is not in the range"),
        (("keys:create", "x", "--expires", "0"), "0"),
        (("keys:create", "x", "--priority", "urgent"), "'urgent' is not one of"),
        (("keys:revoke", "gone", "--yes"), "There is no key 'gone'. There are: laptop"),
    ],
)
def test_what_cannot_be_done_is_said(run: Pomona, words: tuple[str, ...], problem: str) -> None:
    run("keys:create", "laptop")
    result = run(*words)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert result.stdout == ""
    assert len(json.loads(run("keys:list", "--json").stdout)) == 1


@pytest.mark.parametrize("command", [("keys:list",), ("keys:create", "x"), ("keys:revoke", "x", "--yes")])
def test_a_broken_file_is_named_and_left_alone(run: Pomona, keys_file: Path, command: tuple[str, ...]) -> None:
    keys_file.parent.mkdir()
    keys_file.write_text("{", encoding="utf-8")
    result = run(*command)
    assert result.exit_code == 78
    assert "keys.json" in result.stderr
    assert keys_file.read_text(encoding="utf-8") == "{"


def test_a_server_for_other_machines_does_not_start_without_a_key(run: Pomona) -> None:
    result = run("serve", "--host", "0.0.0.0", "--port", "0", "--admin-port", "0")
    assert result.exit_code == 78
    assert "no API key opens that address" in result.stderr
    assert "--insecure" in result.stderr
