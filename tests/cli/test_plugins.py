"""Commands of other packages come through the same hook as ours."""

from pathlib import Path

import pytest

from tests.cli.conftest import PomonaProcess

COMMAND = """
import click

@click.command()
def greet():
    '''Greet the orchard.'''
    click.echo("hello, orchard")
"""


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH with a package that adds commands, one of them broken, one no command."""
    folder = tmp_path / "site"
    metadata = folder / "acme-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "acme.py").write_text(COMMAND, encoding="utf-8")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n", encoding="utf-8")
    points = "[pomona.commands]\nacme:greet = acme:greet\nacme:gone = acme_gone:run\nacme:text = acme:__name__\n"
    (metadata / "entry_points.txt").write_text(points, encoding="utf-8")
    return folder


def test_another_package_adds_a_command(pomona_process: PomonaProcess, packages: Path) -> None:
    result = pomona_process("acme:greet", environment={"PYTHONPATH": str(packages)})

    assert (result.returncode, result.stdout) == (0, "hello, orchard\n")


def test_help_lists_it_and_survives_broken_ones(pomona_process: PomonaProcess, packages: Path) -> None:
    result = pomona_process("--help", environment={"PYTHONPATH": str(packages)})

    assert result.returncode == 0
    assert "Greet the orchard." in result.stdout
    assert "cannot be loaded: No module named 'acme_gone'" in " ".join(result.stdout.split())


@pytest.mark.parametrize(("name", "reason"), [("acme:gone", "No module named 'acme_gone'"), ("acme:text", "not a click command")])
def test_a_broken_command_says_why(pomona_process: PomonaProcess, packages: Path, name: str, reason: str) -> None:
    result = pomona_process(name, environment={"PYTHONPATH": str(packages)})

    assert result.returncode == 2
    assert reason in result.stderr
    assert "Traceback" not in result.stderr
