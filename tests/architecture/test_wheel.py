"""What an installed Pomona contains."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.architecture.sources import PACKAGE, ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    result = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_the_wheel_brings_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    wanted = {
        path.relative_to(ROOT / "src").as_posix() for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted - set(wheel.namelist()) == set()


def test_the_wheel_brings_the_bundled_model_and_its_card(wheel: zipfile.ZipFile) -> None:
    bundled = [Path(name) for name in wheel.namelist() if name.startswith("pomona/models/bundled/")]
    kinds = {path.suffix for path in bundled}
    assert {".safetensors", ".json", ".md"} <= kinds
    config = next(path for path in bundled if path.name == "config.json")
    assert json.loads(wheel.read(config.as_posix()))["model_type"] == "llama"


def test_the_wheel_brings_licence_and_notice(wheel: zipfile.ZipFile) -> None:
    names = {Path(name).name for name in wheel.namelist() if "/licenses/" in name}
    assert {"LICENSE", "NOTICE"} <= names
