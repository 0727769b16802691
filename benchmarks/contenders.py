"""The contenders of `scripts/bench engine` as processes: start, wait, hand tasks to, measure the memory of, stop.

Owns: child processes and their memory. Does not own: what they do (`peers.py`), the schedule and the report (`engine.py`).
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, cast

import psutil

from benchmarks.peers import Result, Task

SAMPLE_SECONDS = 0.1
START_SECONDS = 120.0
STOP_SECONDS = 20.0
SETTLE_SECONDS, REST_SECONDS, RESTING_SHARE = 20.0, 0.5, 0.1
"""Processes rest when they use less than that share of a core for so long; waited for at most that long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to get tokens out of the model. `variant` says whose kernels and weights: "shipped" or "same kernels"."""

    key: str
    title: str
    worker: str
    variant: str
    served: bool = False
    python: str = ""
    """Interpreter that has its packages, where it is not built on MLX."""

    @property
    def folder(self) -> str:
        """Which prepared folder it loads: Pomona always the shipped one, which it expands itself where that is faster."""
        return "float32" if self.python or (self.variant == "same kernels" and self.worker != "pomona") else "shipped"

    @property
    def blas(self) -> str:
        """Whether a fast BLAS is put under MLX."""
        return "auto" if self.variant == "same kernels" else "off"


class Measured:
    """A running contender. `answer` runs one task; `peak_bytes` is the most memory its processes held together so far."""

    def __init__(self, worker: "subprocess.Popen[str]", measured: int) -> None:
        self._worker = worker
        self._tree = psutil.Process(measured)
        self._ended = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self.peak_bytes = 0
        self._sampler.start()

    def processor_seconds(self) -> float:
        """What its processes have used so far, on all cores together."""
        found = 0.0
        for process in [self._tree, *self._tree.children(recursive=True)]:
            with suppress(psutil.Error):
                times = process.cpu_times()
                found += times.user + times.system
        return found

    def settle(self) -> None:
        """Wait until its processes rest, such as a server that has started one more in advance."""
        ending, before = time.monotonic() + SETTLE_SECONDS, -1.0
        while time.monotonic() < ending and (now := self.processor_seconds()) - before > RESTING_SHARE * REST_SECONDS:
            before = now
            time.sleep(REST_SECONDS)

    def answer(self, task: Task) -> Result:
        """Raises RuntimeError when the contender failed."""
        into = cast("IO[str]", self._worker.stdin)
        into.write(json.dumps(asdict(task)) + "\n")
        into.flush()
        return Result(**_read(self._worker))

    def close(self) -> None:
        """Stop measuring."""
        self._ended.set()
        self._sampler.join()

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            with suppress(psutil.Error):
                self.peak_bytes = max(
                    self.peak_bytes, sum(_resident(process) for process in [self._tree, *self._tree.children(recursive=True)])
                )


@contextmanager
def run(contender: Contender, folders: Path) -> Generator[Measured]:
    """Start `contender`, give it, and stop it. Raises RuntimeError with the end of its log when it does not start."""
    with ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile("w+"))
        try:
            measured = stack.enter_context(_started(contender, folders / contender.folder, log))
            yield measured
        except RuntimeError as error:
            log.seek(0)
            raise RuntimeError(f"{contender.title} ({contender.variant}): {error}\n{log.read()[-3000:]}") from error


@contextmanager
def _started(contender: Contender, folder: Path, log: IO[str]) -> Generator[Measured]:
    with ExitStack() as stack:
        if contender.served:
            server, url = stack.enter_context(_server(contender, folder, log))
            worker = stack.enter_context(_process(_worker_command("load", url=url), log))
            watched = server.pid
        else:
            worker = stack.enter_context(_process(_in_process_command(contender, folder), log))
            watched = worker.pid
        _read(worker)
        measured = Measured(worker, watched)
        stack.callback(measured.close)
        yield measured


@contextmanager
def _server(contender: Contender, folder: Path, log: IO[str]) -> "Generator[tuple[subprocess.Popen[str], str]]":
    """The server process and the URL of its completions endpoint, with the model's name as fragment."""
    with tempfile.TemporaryDirectory() as place:
        if contender.worker == "pomona":
            ready = Path(place, "ready.json")
            command = [sys.executable, "-m", "pomona", "serve", "--model", str(folder), "--port", "0", "--admin-port", "0"]
            command += ["--set", "engine.disk_cache_bytes=0"]  # the same prompts come in every run, and one before may have kept them
            with _process([*command, "--ready-file", str(ready)], log, talks=False) as server:
                _wait_for(ready.exists, server)
                facts = json.loads(ready.read_text())
                yield server, f"{facts['url']}/v1/completions#{facts['model']}"
        else:
            port = _free_port()
            with _process(_worker_command("mlx_server", folder=folder, blas=contender.blas, port=port), log, talks=False) as server:
                _wait_for(lambda: _answers(f"http://127.0.0.1:{port}/v1/models"), server)
                yield server, f"http://127.0.0.1:{port}/v1/completions#{folder}"


@contextmanager
def _process(command: Sequence[str], log: IO[str], *, talks: bool = True) -> "Generator[subprocess.Popen[str]]":
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE if talks else log, stderr=log, text=True, env=environment
    )
    try:
        yield process
    finally:
        cast("IO[str]", process.stdin).close()
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def prepare(source: Path, target: Path) -> None:
    """Write the model folders that contenders load, in a process of its own: this one never imports mlx."""
    subprocess.run(_worker_command("prepare", folder=source, target=target), check=True)


def _worker_command(worker: str, **options: object) -> list[str]:
    given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    return [sys.executable, "-c", "from benchmarks.peers import main; main()", worker, *given]


def _in_process_command(contender: Contender, folder: Path) -> list[str]:
    if not contender.python:
        return _worker_command(contender.worker, folder=folder, blas=contender.blas)
    call = "from benchmarks.foreign import main; main()"
    cores = str(len(psutil.Process().cpu_affinity() or []) if hasattr(psutil.Process, "cpu_affinity") else psutil.cpu_count())
    return [contender.python, "-c", call, contender.worker, "--folder", str(folder), "--threads", cores]


def _read(worker: "subprocess.Popen[str]") -> dict[str, Any]:
    line = cast("IO[str]", worker.stdout).readline()
    if not line:
        raise RuntimeError(f"the worker ended with code {worker.wait()}")
    return cast("dict[str, Any]", json.loads(line))


def _wait_for(ready: Callable[[], bool], server: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with code {server.returncode}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"the server was not ready after {START_SECONDS:g} seconds")
        time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _resident(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0
