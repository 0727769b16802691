"""Help is complete, instant in what it imports, and names what a person meant."""

import re
import tomllib
from pathlib import Path

import click
import pytest

from pomona import __version__
from pomona.cli import root
from pomona.cli.group import BUILT_IN
from tests.cli.conftest import Pomona, PomonaProcess

ROOT = Path(__file__).parents[2]
HEAVY = ("pydantic", "fastapi", "mlx", "rich", "structlog", "httpx", "prompt_toolkit", "msgspec", "asyncio", "yaml")


def test_help_lists_every_command_with_its_summary(pomona: Pomona) -> None:
    text = pomona("--help").output

    for name, listing in BUILT_IN.items():
        assert re.search(rf"^  {name} +{re.escape(listing.summary)}$", text, re.MULTILINE)
        assert f"{listing.section}:" in text


def test_without_a_command_help_is_shown(pomona: Pomona) -> None:
    assert pomona().output == pomona("--help").output
    assert pomona().exit_code == 0


def test_the_table_of_summaries_is_the_table_of_entry_points() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert set(project["entry-points"]["pomona.commands"]) == set(BUILT_IN)


@pytest.mark.parametrize("name", BUILT_IN)
def test_each_command_explains_itself_and_every_option(pomona: Pomona, name: str) -> None:
    result = pomona(name, "--help")
    command = root.get_command(click.Context(root), name)

    assert result.exit_code == 0
    assert "Global options:" in result.output
    assert command is not None
    assert (command.help or "").strip()
    unexplained = [option.name for option in command.params if isinstance(option, click.Option) and not option.help]
    assert unexplained == []


def test_help_imports_nothing_heavy(pomona_process: PomonaProcess) -> None:
    text = pomona_process("--help", environment={"PYTHONPROFILEIMPORTTIME": "1"}).stderr
    imported = {line.rpartition("|")[2].strip() for line in text.splitlines()}

    assert "pomona.cli.group" in imported
    assert [name for name in HEAVY if name in imported] == []


def test_version(pomona: Pomona) -> None:
    assert pomona("--version").output == f"pomona {__version__}\n"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["srve"], "'serve'"),
        (["generat"], "'generate'"),
        (["bench"], "'bench:serve' or 'bench:engine'"),
        (["keys", "list"], "pomona keys:list"),
        (["xyzzy"], "pomona --help"),
    ],
)
def test_unknown_commands_get_a_suggestion(pomona: Pomona, words: list[str], hint: str) -> None:
    result = pomona(*words)

    assert result.exit_code == 2
    assert hint in result.stderr
    assert result.stdout == ""


def test_unknown_options_get_a_suggestion(pomona: Pomona) -> None:
    result = pomona("serve", "--prot", "1")

    assert result.exit_code == 2
    assert "--port" in result.stderr
