"""Pomona and the library as processes of their own, against the hub of a test."""

import os
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.hub.server import FakeHub

SECONDS = 120
"""A child begins, asks the hub and ends in 3 s on a quiet machine."""


@contextmanager
def started(arguments: Sequence[str], hub: FakeHub, folder: Path, **more: str) -> "Generator[subprocess.Popen[str]]":
    """Python in a process of its own, with an empty home and the hub of the test; ended in any case."""
    pipe, environment = subprocess.PIPE, environment_of(hub, folder, **more)
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, env=environment, cwd=folder, stdout=pipe, stderr=pipe, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def environment_of(hub: FakeHub, folder: Path, **more: str) -> dict[str, str]:
    """An empty home and the hub of the test."""
    places = {"HF_HOME": str(folder / "hf"), "HF_HUB_CACHE": str(folder / "cache"), "XDG_DATA_HOME": str(folder / "data")}
    own = {"HOME": str(folder), "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", **places}
    patient = {"POMONA_HUB__TIMEOUT_SECONDS": "600"}  # a hub that holds back an answer is not gone
    return {**os.environ, **own, **patient, **more}


def run(arguments: Sequence[str], hub: FakeHub, folder: Path, **more: str) -> str:
    """What it printed; it must succeed."""
    with started(arguments, hub, folder, **more) as child:
        said, told = child.communicate(timeout=SECONDS)
    assert child.returncode == 0, told
    return said


def wait_for_size(path: Path, size: int, child: "subprocess.Popen[str]") -> None:
    """Until the child has written that much; it must not end before."""
    deadline = time.monotonic() + SECONDS
    while not path.exists() or path.stat().st_size < size:
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline, f"{path} did not grow to {size} bytes"
        time.sleep(0.005)
