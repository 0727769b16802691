"""Runs commands as a person would, in a clean home: in this process where that will do, else in a real one."""

import logging
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Protocol

import pytest
import structlog
from click.testing import CliRunner, Result

from pomona.cli import root
from tests.api.gateway import Gateway, running


class Pomona(Protocol):
    """Runs `pomona` with arguments in this process."""

    def __call__(self, *arguments: str, stdin: str | None = None) -> Result:
        """What it printed and its exit code."""
        ...


class PomonaProcess(Protocol):
    """Runs `python -m pomona` with arguments."""

    def __call__(self, *arguments: str, stdin: str = "", environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """What it printed and its exit code."""
        ...


@pytest.fixture(autouse=True)
def quiet_logs() -> Generator[None]:
    """Logs of servers in this process stay off what commands print; what commands change of logging is taken back."""
    root_logger = logging.getLogger()
    handlers, level = list(root_logger.handlers), root_logger.level
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()
    root_logger.handlers[:] = handlers
    root_logger.setLevel(level)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, which is the working folder too."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pomona(home: Path) -> Pomona:
    """The command, in this process."""
    del home

    def run(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(root, list(arguments), input=stdin)

    return run


@pytest.fixture
def pomona_process(home: Path) -> PomonaProcess:
    """The command, in a process of its own."""

    def run(*arguments: str, stdin: str = "", environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pomona", *arguments]
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=home,
            env={**os.environ, **(environment or {})},
        )

    return run


@pytest.fixture
def gateway() -> Generator[Gateway]:
    """A real server in front of a double."""
    with running(Gateway()) as served:
        yield served
