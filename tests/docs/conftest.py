"""A real server for the snippets of the documentation."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

START_SECONDS = 120
STOP_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Where a running server answers."""

    url: str
    admin_url: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`pomona serve` as the README starts it, on free ports."""
    folder = tmp_path_factory.mktemp("served")
    ready, log = folder / "ready.json", folder / "log"
    command = [sys.executable, "-m", "pomona", "serve", "--port", "0", "--admin-port", "0", "--ready-file", str(ready)]
    with (
        log.open("w") as output,
        subprocess.Popen(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, stderr=output) as process,
    ):
        try:
            yield wait_until_ready(process, ready, log)
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


def wait_until_ready(process: subprocess.Popen[bytes], ready: Path, log: Path) -> Served:
    deadline = time.monotonic() + START_SECONDS
    while not (ready.is_file() and ready.stat().st_size):
        assert process.poll() is None, f"`pomona serve` ended with {process.returncode}: {log.read_text()}"
        assert time.monotonic() < deadline, f"`pomona serve` was not ready in {START_SECONDS} s: {log.read_text()}"
        time.sleep(0.05)
    facts = json.loads(ready.read_text())
    return Served(url=facts["url"], admin_url=facts["admin_url"])
