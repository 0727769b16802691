"""`list` and `show` tell what is on this machine."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Pomona

STORIES = Path(__file__).parents[1] / "data" / "stories260K"


@pytest.fixture
def folder(home: Path) -> Path:
    """A folder with a whole model and a broken one."""
    place = home / "models"
    shutil.copytree(STORIES, place / "stories")
    (place / "broken").mkdir()
    (place / "broken" / "config.json").write_text('{"model_type": "no-such-type"}', encoding="utf-8")
    return place


def test_the_bundled_model_is_listed_as_the_default(pomona: Pomona) -> None:
    (entry,) = json.loads(pomona("list", "--json").stdout)

    assert (entry["id"], entry["kind"], entry["default"], entry["problem"]) == ("pomona-tiny", "bundled", True, None)
    assert entry["parameters"] > 10**6
    assert entry["weight_bytes"] > 10**6


def test_the_table_has_a_row_per_model_and_tells_what_is_broken(pomona: Pomona, folder: Path) -> None:
    result = pomona("list", "--set", f"models.folders={json.dumps([str(folder)])}", "--set", "models.aliases.tales=stories")

    assert result.exit_code == 0
    rows = [line.split()[0] for line in result.stdout.splitlines()[1:]]
    assert rows == ["tales", "pomona-tiny", "broken", "stories"]
    assert "pomona-tiny (default)" in result.stdout
    assert "alias of stories" in result.stdout
    assert "broken cannot be used" in result.stderr
    assert "no-such-type" in result.stderr


def test_one_model_is_shown(pomona: Pomona) -> None:
    lines = dict(line.split("  ", 1) for line in pomona("show").stdout.splitlines())

    assert lines["model        ".strip()].strip() == "pomona-tiny"
    assert lines["context"].strip().endswith("tokens")


def test_a_folder_is_shown_as_json(pomona: Pomona, folder: Path) -> None:
    entry = json.loads(pomona("show", str(folder / "stories"), "--json").stdout)

    assert (entry["kind"], entry["model_type"], entry["max_context"]) == ("folder", "llama", 512)


def test_a_broken_model_is_shown_with_its_problem(pomona: Pomona, folder: Path) -> None:
    result = pomona("show", str(folder / "broken"))

    assert result.exit_code == 1
    assert "no-such-type" in result.stdout


def test_a_model_that_is_nowhere(pomona: Pomona) -> None:
    result = pomona("show", "pomona-tyni")

    assert result.exit_code == 66
    assert "'pomona-tiny'" in result.stderr
