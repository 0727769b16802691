"""Pomona and the library as processes of their own, against the hub of a test."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.hub.server import FakeHub

SECONDS = 30


def start(arguments: Sequence[str], hub: FakeHub, folder: Path, **more: str) -> "subprocess.Popen[str]":
    """Python in a process of its own, with an empty home and the hub of the test."""
    pipe = subprocess.PIPE
    environment = environment_of(hub, folder, **more)
    return subprocess.Popen([sys.executable, *arguments], env=environment, cwd=folder, stdout=pipe, stderr=pipe, text=True)


def environment_of(hub: FakeHub, folder: Path, **more: str) -> dict[str, str]:
    """An empty home and the hub of the test."""
    places = {"HF_HOME": str(folder / "hf"), "HF_HUB_CACHE": str(folder / "cache"), "XDG_DATA_HOME": str(folder / "data")}
    own = {"HOME": str(folder), "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", **places, **more}
    return {**os.environ, **own}


def run(arguments: Sequence[str], hub: FakeHub, folder: Path, **more: str) -> str:
    """What it printed; it must succeed."""
    child = start(arguments, hub, folder, **more)
    said, told = child.communicate(timeout=SECONDS)
    assert child.returncode == 0, told
    return said


def wait_for_size(path: Path, size: int, child: "subprocess.Popen[str]") -> None:
    """Until the child has written that much."""
    while child.poll() is None and (not path.exists() or path.stat().st_size < size):
        pass
