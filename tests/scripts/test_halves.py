"""`scripts/test` without arguments: two processes run every test once between them, and either can fail the whole."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.lib.halves import FIRST_HALF

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path("scripts") / "lib" / "halves.py"
FOLDERS = (*FIRST_HALF, "engine", "a_new_one")
PLAIN = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # a second less for each process


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The script, and one test in each folder."""
    (tmp_path / SCRIPT).parent.mkdir(parents=True)
    shutil.copy(ROOT / SCRIPT, tmp_path / SCRIPT)
    (tmp_path / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\naddopts = ["--import-mode=importlib", "-v", "-p", "no:cacheprovider"]'
    )
    for name in FOLDERS:
        (tmp_path / "tests" / name).mkdir(parents=True)
        (tmp_path / "tests" / name / "test_it.py").write_text("def test_it() -> None:\n    pass\n")
    return tmp_path


def run(clone: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, clone / SCRIPT], cwd="/", capture_output=True, text=True, timeout=120, check=False, env=PLAIN)


def test_every_test_runs_once_those_of_new_folders_too(clone: Path) -> None:
    ran = run(clone)
    assert sorted(re.findall(r"tests/(\w+)/test_it.py::test_it PASSED", ran.stdout)) == sorted(FOLDERS)
    assert ran.returncode == 0


@pytest.mark.parametrize("folder", ["cli", "a_new_one"])
def test_a_failure_in_either_is_shown_and_fails_the_whole(clone: Path, folder: str) -> None:
    (clone / "tests" / folder / "test_it.py").write_text("def test_it() -> None:\n    assert 'cold' == 'hot'\n")
    ran = run(clone)
    assert "assert 'cold' == 'hot'" in ran.stdout
    assert len(re.findall(r"::test_it (?:PASSED|FAILED)", ran.stdout)) == len(FOLDERS)
    assert ran.returncode == 1


def test_the_folders_of_the_first_half_are_there() -> None:
    assert [name for name in FIRST_HALF if not (ROOT / "tests" / name).is_dir()] == []
