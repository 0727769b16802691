"""No engine outlives its gateway, however that ended."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from pomona.engine.process.host import EXIT_GATEWAY_GONE
from pomona.fleet.process.endpoint import PREFIX
from tests.e2e.engines import COMMAND, PATIENCE_SECONDS, PREPARE, launch

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def gateway(folder: Path) -> Generator[tuple[psutil.Process, psutil.Process]]:
    """A gateway process that uses `folder` for its sockets, and its engine."""
    environment = {**os.environ, "TMPDIR": str(folder)}
    command = (sys.executable, "-m", "tests.e2e.orphan")
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield psutil.Process(process.pid), psutil.Process(int(process.stdout.readline()))
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGHUP])
def test_the_engine_goes_with_the_gateway(number: signal.Signals, tmp_path: Path) -> None:
    with gateway(tmp_path) as (process, engine):
        process.send_signal(number)
        gone, alive = psutil.wait_procs([engine], PATIENCE_SECONDS)
        assert ([each.pid for each in gone], alive) == ([engine.pid], [])
    assert list(tmp_path.glob(f"{PREFIX}*")) == []


def test_the_end_of_standard_input_is_enough(tmp_path: Path) -> None:
    """As on macOS, where no other sign comes. This engine is busy with its model, and nobody answers at its address."""
    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(PREPARE.model_dump_json().encode() + b"\n")
    process.stdin.write(launch(f"ipc://{tmp_path}/socket", "slow").model_dump_json().encode() + b"\n")
    process.stdin.close()
    assert process.wait(PATIENCE_SECONDS) == EXIT_GATEWAY_GONE
