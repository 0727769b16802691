"""`config:show` tells every setting's value and origin."""

import json
from pathlib import Path

import pytest

from pomona.cli.commands.config import MASK, shown_settings
from pomona.core.settings import LoadedSettings, Section, Settings
from tests.cli.conftest import Pomona


def origins(text: str) -> dict[str, str]:
    return {name: entry["origin"] for name, entry in json.loads(text).items()}


def test_every_setting_is_listed_with_its_description(pomona: Pomona) -> None:
    shown = json.loads(pomona("config:show", "--json").stdout)

    expected = {f"{section}.{name}" for section, fields in Settings().model_dump().items() for name in fields}
    assert set(shown) == expected
    assert all(entry["description"] for entry in shown.values())
    assert {entry["origin"] for entry in shown.values()} == {"default"}


def test_each_source_is_named(pomona: Pomona, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "pomona.toml").write_text("[engine]\nmax_rows = 8\nmax_waiting = 3\n", encoding="utf-8")
    (home / "config" / "pomona").mkdir(parents=True)
    (home / "config" / "pomona" / "config.toml").write_text("[engine]\nmax_rows = 9\npage_tokens = 16\n", encoding="utf-8")
    monkeypatch.setenv("POMONA_SERVER__PORT", "7000")
    monkeypatch.setenv("POMONA_SERVER__ADMIN_PORT", "7001")

    result = pomona("config:show", "--json", "--set", "server.port=7002", "--profile", "test")

    shown, names = json.loads(result.stdout), origins(result.stdout)
    assert (shown["server.port"]["value"], names["server.port"]) == (7002, "command line")
    assert (shown["server.admin_port"]["value"], names["server.admin_port"]) == (7001, "environment POMONA_SERVER__ADMIN_PORT")
    assert (shown["engine.max_rows"]["value"], names["engine.max_rows"]) == (8, str(home / "pomona.toml"))
    assert names["engine.page_tokens"] == str(home / "config" / "pomona" / "config.toml")
    assert (shown["logging.level"]["value"], names["logging.level"]) == ("warning", "profile test")


@pytest.mark.parametrize("place", ["before", "after"])
def test_global_options_stand_before_or_after_the_command(pomona: Pomona, place: str) -> None:
    words = ["--set", "engine.max_rows=5"]
    result = pomona(*words, "config:show", "--json") if place == "before" else pomona("config:show", *words, "--json")

    assert json.loads(result.stdout)["engine.max_rows"]["value"] == 5


def test_tables_and_lists_can_be_set(pomona: Pomona) -> None:
    result = pomona("config:show", "models", "--json", "--set", "models.aliases.small=pomona-tiny", "--set", 'models.folders=["/a", "/b"]')

    shown = json.loads(result.stdout)
    assert shown["models.aliases"]["value"] == {"small": "pomona-tiny"}
    assert shown["models.aliases"]["origin"] == "command line"
    assert shown["models.folders"]["value"] == ["/a", "/b"]


def test_the_table_shows_a_section(pomona: Pomona) -> None:
    lines = pomona("config:show", "engine").stdout.splitlines()

    assert lines[0].split() == ["setting", "value", "from"]
    assert all(line.startswith("engine.") for line in lines[1:])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["engin.max"], 2, "Did you mean"),
        (["--set", "port=1"], 2, "section.field=value"),
        (["--set", "server.port"], 2, "section.field=value"),
        (["--set", "server.=1"], 2, "section.field=value"),
        (["--set", "server.port=1", "--set", "server.port.x=2"], 2, "set the same thing"),
        (["--set", "server.port=x"], 78, "server.port = 'x' (from command line)"),
        (["--set", "server.potr=1"], 78, "no setting 'server.potr' (from command line)"),
        (["--set", "servre.port=1"], 78, "no setting 'servre' (from command line)"),
        (["--profile", "prod"], 78, "development, production, test"),
    ],
)
def test_mistakes_are_explained(pomona: Pomona, arguments: list[str], code: int, words: str) -> None:
    result = pomona("config:show", *arguments)

    assert result.exit_code == code
    assert words in result.stderr


def test_a_broken_file_is_named(pomona: Pomona, home: Path) -> None:
    (home / "pomona.toml").write_text("[engine\n", encoding="utf-8")

    result = pomona("config:show")

    assert result.exit_code == 78
    assert str(home / "pomona.toml") in result.stderr


def test_secrets_are_masked() -> None:
    class Guarded(Section):
        api_key: str | None = "s3cret"
        admin_token: str | None = None
        page_tokens: int = 32

    class Tree(Settings):
        guarded: Guarded = Guarded()

    shown = {row.name: row.value for row in shown_settings(LoadedSettings(settings=Tree(), origins={}))}

    assert (shown["guarded.api_key"], shown["guarded.admin_token"], shown["guarded.page_tokens"]) == (MASK, None, 32)
