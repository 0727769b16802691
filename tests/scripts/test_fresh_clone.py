"""A stranger's first minutes: a fresh clone, an empty home, one command. Installs from PyPI."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
KEPT = ("SSL_CERT_FILE", "PIP_CERT", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY")  # how this machine reaches PyPI
MINUTES = 10

pytestmark = pytest.mark.network


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(tmp_path / "pomona")], check=True)
    (tmp_path / "home").mkdir()
    return tmp_path / "pomona"


@pytest.mark.parametrize("with_uv", [False, True], ids=["venv and pip", "uv"])
def test_the_first_command_answers(clone: Path, with_uv: bool) -> None:
    environment = {"HOME": str(clone.parent / "home"), "PATH": SYSTEM_PATH} | {
        name: os.environ[name] for name in KEPT if name in os.environ
    }
    if with_uv:
        uv = shutil.which("uv")
        assert uv is not None, "put uv on the PATH to run this test"
        environment["PATH"] = f"{Path(uv).parent}:{SYSTEM_PATH}"
    for arguments, expected in ((["--version"], "pomona 0."), (["generate", "Hello! Who are you?", "--temperature", "0"], "tiny model")):
        command = [clone / "scripts" / "pomona", *arguments]
        result = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, timeout=60 * MINUTES, check=False)
        assert result.returncode == 0, result.stderr
        assert expected in result.stdout
    status = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True)
    assert status.stdout == ""
