"""The server under test, in folders of its own, and what can be seen of it from outside: processes, descriptors, files, memory, log."""

import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.chaos.nonsense import BODY_SECONDS, HEAD_SECONDS, MAX_BODY_BYTES
from tests.chaos.plan import MAIN, OTHER

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 120
HANG_SECONDS = 4
DISK_CACHE_BYTES = 4 * 2**20
_SETTINGS: Mapping[str, object] = {
    "residency.spare_process": "true",
    "fleet.hang_seconds": HANG_SECONDS,
    "fleet.max_restarts": 1000,  # random kills are no sign of a model that cannot run
    "fleet.ready_wait_seconds": 100,
    "fleet.reader_high_water": 16,
    "limits.body_seconds": BODY_SECONDS,
    "limits.header_seconds": HEAD_SECONDS,
    "limits.retry_grace_seconds": 0.2,
    "server.max_body_bytes": MAX_BODY_BYTES,
    "server.keepalive_seconds": 0.5,
    "engine.max_rows": 16,
    "engine.kv_cache_bytes": 24 * 2**20,
    "engine.disk_cache_bytes": DISK_CACHE_BYTES,
    "logging.level": "info",
    "logging.format": "json",
}
_KERNELS, _PAGES = "mlx", "engines"
_ENGINE = "pomona.engine.process"
_FATAL = re.compile(
    r"Traceback \(most recent call last\)|Task exception was never retrieved|never awaited|ResourceWarning|Segmentation fault"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a server holds while nobody asks it anything."""

    rss_bytes: int
    """Of the gateway."""
    descriptors: int
    threads: int
    engines: int
    pages_used: float
    rows: float
    files: tuple[str, ...]
    """All that lies in its temporary folder and its cache, without kernels and pages that are kept on purpose."""
    kept_bytes: int
    """Pages of prompts on disk."""


@dataclass(slots=True)
class House:
    """A server that runs."""

    url: str
    admin_url: str
    process: psutil.Process
    folder: Path
    lines: list[str]
    """What it wrote to its log."""
    pids: set[int] = field(default_factory=set[int])
    """Every process that was ever seen below it."""

    def engines(self) -> list[psutil.Process]:
        """Engine processes, the one in spare included."""
        found: list[psutil.Process] = []
        for child in self.process.children():
            with suppress(psutil.Error):
                if _ENGINE in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                    found.append(child)
        self.pids |= {each.pid for each in found}
        return found

    def loaded(self) -> list[tuple[str, int]]:
        """(model, process id) of engines that hold a model."""
        return [(each["model"], each["pid"]) for each in self._health() if each["pid"] is not None and each["state"] == "ready"]

    def read(self) -> Reading:
        """All of it."""
        return Reading(
            rss_bytes=self.process.memory_info().rss,
            descriptors=self.process.num_fds(),
            threads=self.process.num_threads(),
            engines=len(self.engines()),
            pages_used=self._metric("pomona_engine_kv_pages_used"),
            rows=self._metric("pomona_engine_running_rows") + self._metric("pomona_engine_waiting_requests"),
            files=self._files(),
            kept_bytes=sum(path.stat().st_size for path in self._pages()),
        )

    def settle(self) -> Reading:
        """Wait until only the main model and the process in spare are there and nothing runs, and read."""
        with suppress(AssertionError):
            until(self._is_calm)
        return self.read()

    def spoil(self, dice: random.Random) -> None:
        """Let one file of kept pages be shorter than it was, or hold another byte, as a bad disk or a crash leaves it."""
        pages = self._pages()
        if pages:
            with suppress(OSError), dice.choice(pages).open("r+b") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(dice.randrange(max(1, size)))
                if dice.random() < 0.5:
                    file.truncate()
                else:
                    file.write(b"\xa5")

    def set_clock(self, seconds: float) -> None:
        """Put the wall clock of all its processes `seconds` away from the real one."""
        with (self.folder / "clock").open("r+b") as file:
            file.write(struct.pack("d", seconds))

    def set_disk_full(self, *, full: bool) -> None:
        """Let every write to a file fail, or none: the log is a pipe. Processes that start later inherit it."""
        limit = 0 if full else -1
        for process in (self.process, *self.engines()):
            with suppress(psutil.NoSuchProcess):
                process.rlimit(psutil.RLIMIT_FSIZE, (limit, -1))

    def complaints(self) -> list[str]:
        """Lines of the log that must not be there: tracebacks, and errors that nobody meant."""
        return [line[:2000] for line in self.lines if _FATAL.search(line) or _is_error(line)]

    def end(self) -> list[str]:
        """End it as a service manager would; what was not as it should be."""
        self.engines()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_SECONDS)
        problems = [] if code == 0 else [f"the server ended with {code!r}"]
        gone = [pid for pid in self.pids if psutil.pid_exists(pid)]
        problems += [f"processes outlived the server: {gone}"] if gone else []
        left = [path.name for path in (self.folder / "tmp").iterdir() if path.name != _KERNELS]
        return problems + ([f"files outlived the server: {left}"] if left else [])

    def _is_calm(self) -> bool:
        """A client that has left may have left a load behind: of two processes, one may be such, and none in spare."""
        states = {each["model"]: each["state"] for each in self._health()}
        for model, state in states.items():
            if model != MAIN and state == "ready":
                httpx.post(f"{self.admin_url}/admin/models/{model}/unload", timeout=PATIENCE_SECONDS)
        reading = self.read()
        return (reading.pages_used, reading.rows, states, reading.engines) == (0, 0, {MAIN: "ready"}, 2)

    def _health(self) -> list[dict[str, Any]]:
        """What it says of each engine."""
        return httpx.get(f"{self.admin_url}/health", timeout=PATIENCE_SECONDS).json()["engines"]

    def _metric(self, name: str) -> float:
        """The sum over all models."""
        lines = httpx.get(f"{self.admin_url}/metrics", timeout=PATIENCE_SECONDS).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{"))

    def _files(self) -> tuple[str, ...]:
        """Files and folders; of those with pages only what is half written."""
        folders = (self.folder / "tmp", self.folder / "cache")
        paths = [path.relative_to(self.folder) for folder in folders for path in folder.rglob("*")]
        return tuple(sorted(str(path) for path in paths if not _is_kept(path)))

    def _pages(self) -> list[Path]:
        return sorted((self.folder / "cache").rglob(f"{_PAGES}/*/[!.]*.safetensors"))


def _is_kept(path: Path) -> bool:
    return _KERNELS in path.parts or (_PAGES in path.parts and not path.name.startswith(".half"))


def _is_error(line: str) -> bool:
    """A record of level error or critical."""
    try:
        record = json.loads(line)
    except ValueError:
        return False
    return isinstance(record, dict) and record.get("level") in {"error", "critical"}


@contextmanager
def housed(settings: Mapping[str, object]) -> Generator[House]:
    """A server with two models, of its own process group, and all that it writes in one folder."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        environment, command = _prepare(folder, {**_SETTINGS, **settings})
        with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, process_group=0, text=True) as process:
            lines: list[str] = []
            reading = threading.Thread(target=_collect, args=(process, lines), daemon=True)
            reading.start()
            try:
                yield _await_ready(process, folder, lines)
            finally:
                _kill_group(process)
                reading.join(PATIENCE_SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prepare(folder: Path, settings: Mapping[str, object]) -> tuple[dict[str, str], Sequence[str]]:
    for name in ("tmp", "cache", "data", "config", "models"):
        (folder / name).mkdir()
    (folder / "clock").write_bytes(struct.pack("d", 0.0))
    shutil.copytree(ROOT / "tests/data/stories260K", folder / "models" / OTHER)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("POMONA_")}
    environment |= {f"XDG_{name.upper()}_HOME": str(folder / name) for name in ("cache", "data", "config")}
    paths = [str(ROOT / "tests/chaos/shim"), str(ROOT / "src")]
    environment |= {"TMPDIR": str(folder / "tmp"), "CHAOS_CLOCK": str(folder / "clock"), "PYTHONPATH": os.pathsep.join(paths)}
    options = [f"--set={name}={value}" for name, value in {**settings, "models.folders": json.dumps([str(folder / "models")])}.items()]
    command = (sys.executable, "-m", "pomona", "serve", "--profile", "test", "--ready-file", str(folder / "ready.json"), *options)
    return environment, command


def _await_ready(process: "subprocess.Popen[str]", folder: Path, lines: list[str]) -> House:
    ready_file = folder / "ready.json"
    until(lambda: ready_file.exists() or process.poll() is not None)
    assert ready_file.exists(), "".join(lines)
    ready = json.loads(ready_file.read_text())
    return House(url=ready["url"], admin_url=ready["admin_url"], process=psutil.Process(process.pid), folder=folder, lines=lines)


def _collect(process: "subprocess.Popen[str]", lines: list[str]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line)


def _kill_group(process: "subprocess.Popen[str]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def until(condition: Callable[[], object], patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Look again and again until `condition` holds; fail when patience ends."""
    deadline = time.monotonic() + patience_seconds
    while not condition():
        assert time.monotonic() < deadline, "patience ended"
        time.sleep(0.05)
