"""What `pomona pull` shows on a terminal, into a pipe, and after Ctrl-C."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hub.conftest import STORIES, Bench
from tests.hub.processes import SECONDS, environment_of, started, wait_for_size

WEIGHTS = "model.safetensors"
BAR = re.compile(r"Downloading .* \d+% +[\d.]+ KiB of 1\.0 MiB +[\d.]+ [KMG]iB/s 0:\d\d:\d\d +\w+\.(json|safetensors)")
"""The file is the one of which something came last: several come at once."""
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SHOW_CURSOR = "\x1b[?25h"
PULL = ["-m", "pomona", "pull", "acme/tiny"]


class Terminal:
    """A pseudo-terminal of 160 columns, and what was written to it so far."""

    def __init__(self) -> None:
        self.near, self.far = pty.openpty()
        self.seen = ""

    def read_until(self, holds: Callable[[str], object], child: "subprocess.Popen[bytes]") -> None:
        """Read until `holds` of what was seen, without escape sequences. All that the child says before its end counts."""
        deadline = time.monotonic() + SECONDS
        while not holds(ESCAPES.sub("", self.seen)):
            ended = child.poll() is not None  # before it is read for the last time
            if select.select([self.near], [], [], 0.0 if ended else 0.2)[0]:
                self.seen += os.read(self.near, 65536).decode(errors="replace")
            else:
                assert not ended, self.seen
            assert time.monotonic() < deadline, self.seen


@pytest.fixture
def terminal() -> Generator[Terminal]:
    """Closed at the end."""
    opened = Terminal()
    yield opened
    os.close(opened.near)
    os.close(opened.far)


@contextmanager
def pull_on(terminal: Terminal, bench: Bench, folder: Path) -> "Generator[subprocess.Popen[bytes]]":
    """`pomona pull` with all of its streams on the terminal; ended in any case."""
    environment = environment_of(bench.hub, folder, TERM="xterm-256color", COLUMNS="160")
    command = [sys.executable, *PULL]
    with subprocess.Popen(command, env=environment, cwd=folder, stdin=terminal.far, stdout=terminal.far, stderr=terminal.far) as child:
        try:
            yield child
        finally:
            child.kill()


def test_a_terminal_shows_bytes_speed_and_the_time_that_is_left(bench: Bench, tmp_path: Path, terminal: Terminal) -> None:
    bench.hub.hold[WEIGHTS] = 300_000
    with pull_on(terminal, bench, tmp_path) as child:
        terminal.read_until(BAR.search, child)
        bench.hub.go.set()
        terminal.read_until(lambda text: "acme/tiny is here. Try: pomona chat -m acme/tiny" in text, child)
        assert child.wait(SECONDS) == 0
    assert "100% 1.0 MiB of 1.0 MiB" in ESCAPES.sub("", terminal.seen)
    assert SHOW_CURSOR in terminal.seen


def test_ctrl_c_on_a_terminal_says_how_to_go_on(bench: Bench, tmp_path: Path, terminal: Terminal) -> None:
    bench.hub.hold[WEIGHTS] = 300_000
    with pull_on(terminal, bench, tmp_path) as child:
        terminal.read_until(lambda text: " KiB of 1.0 MiB" in text, child)
        child.send_signal(signal.SIGINT)
        terminal.read_until(lambda text: "`pomona pull acme/tiny` goes on from there" in text, child)
        assert child.wait(SECONDS) == 130
    assert terminal.seen.rindex(SHOW_CURSOR) < terminal.seen.index("Interrupted.")
    assert "Traceback" not in terminal.seen


def test_what_was_interrupted_goes_on(bench: Bench, tmp_path: Path) -> None:
    """And a pipe gets lines without control characters."""
    bench.hub.hold[WEIGHTS] = 100_000
    with started(PULL, bench.hub, tmp_path) as child:
        wait_for_size(bench.partial(WEIGHTS), 100_000, child)
        child.send_signal(signal.SIGINT)
        said, told = child.communicate(timeout=SECONDS)
    assert (child.returncode, said) == (130, "")
    *lines, last = told.rstrip().splitlines()
    assert last == "Interrupted. What came is kept: `pomona pull acme/tiny` goes on from there."
    assert lines
    assert all(re.fullmatch(r"Downloading acme/tiny: .* of 1\.0 MiB \d+%", line) for line in lines)
    bench.hub.go.set()
    bench.hub.asked.clear()
    bench.pull()
    assert [asked.range for asked in bench.hub.downloads(WEIGHTS)] == ["bytes=100000-"]
    assert (bench.snapshot() / WEIGHTS).read_bytes() == (STORIES / WEIGHTS).read_bytes()
