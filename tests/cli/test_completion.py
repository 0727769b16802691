"""The completion scripts are valid and complete names with colons."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Pomona


@pytest.fixture
def on_path(tmp_path: Path) -> dict[str, str]:
    """An environment in which `pomona` is this one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "pomona").write_text(f'#!/bin/sh\nexec {sys.executable} -m pomona "$@"\n', encoding="utf-8")
    (folder / "pomona").chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_and_how_to_install_it(pomona: Pomona, shell: str) -> None:
    result = pomona("completion:show", shell)

    assert result.exit_code == 0
    assert f"_POMONA_COMPLETE={shell}_complete" in result.stdout
    assert "# To install it:" in result.stdout


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("pomona keys:li", "list"),
        ("pomona li", "list"),
        ("pomona serve --adm", "--admin-port"),
        ("pomona completion:show f", "fish"),
        ("pomona generate --dev", "--device"),
        ("pomona launch cl", "claude"),
    ],
)
def test_bash_completes(pomona: Pomona, on_path: dict[str, str], line: str, expected: str) -> None:
    script = pomona("completion:show", "bash").stdout
    words = f'COMP_LINE="{line}" COMP_POINT={len(line)} _pomona_completion pomona; echo "${{COMPREPLY[*]}}"'
    result = subprocess.run(["bash", "-c", f"{script}\n{words}"], capture_output=True, text=True, env=on_path, timeout=60, check=True)

    assert result.stdout.strip() == expected


def test_an_unknown_shell_is_refused(pomona: Pomona) -> None:
    result = pomona("completion:show", "tcsh")

    assert result.exit_code == 2
    assert "bash" in result.stderr
