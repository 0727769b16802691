"""Real servers: `pomona serve` with the bundled model, as a user starts it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from openai import AsyncOpenAI

MODEL = "pomona-tiny"
PATIENCE_SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that is ready."""

    url: str
    admin_url: str
    process: psutil.Process

    def engine(self) -> psutil.Process:
        """Its engine process."""
        [engine] = self.engines()
        return engine

    def engines(self) -> list[psutil.Process]:
        """Its engine processes that have not ended."""
        return [child for child in self.process.children() if "pomona.engine.process" in arguments_of(child)]

    def client(self) -> AsyncOpenAI:
        """The official client."""
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=PATIENCE_SECONDS)

    def metric(self, name: str, model: str = MODEL) -> float:
        """A metric of a model, from the admin port."""
        lines = httpx.get(f"{self.admin_url}/metrics").text.splitlines()
        [line] = [line for line in lines if line.startswith(f'{name}{{model="{model}"}}')]
        return float(line.rpartition(" ")[2])

    def is_ready(self) -> bool:
        """What a load balancer would see."""
        return httpx.get(f"{self.admin_url}/ready").status_code == 200


@contextmanager
def serving(folder: Path, *options: str) -> Generator[Server]:
    """A server of its own process group, started in `folder`, without the settings of whoever runs the tests."""
    ready_file = folder / "ready.json"
    command = (sys.executable, "-m", "pomona", "serve", "--profile", "test", "--ready-file", str(ready_file), *options)
    environment = {**os.environ, "XDG_CONFIG_HOME": str(folder)}
    with (folder / "log").open("w") as log, subprocess.Popen(command, cwd=folder, env=environment, stderr=log, process_group=0) as process:
        try:
            wait_until(lambda: ready_file.exists() or process.poll() is not None)
            assert ready_file.exists(), f"exit code {process.wait()}: {(folder / 'log').read_text()}"
            ready = json.loads(ready_file.read_text())
            yield Server(url=ready["url"], admin_url=ready["admin_url"], process=psutil.Process(process.pid))
        finally:
            process.kill()


def arguments_of(process: psutil.Process) -> list[str]:
    """Nothing for a process that has ended, or ends while it is looked at."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def wait_until(condition: Callable[[], object]) -> None:
    """Look again and again until `condition` holds; fail when patience ends."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "patience ended"
        time.sleep(0.02)
