"""How long models take to come into memory: into free room, in place of another, and what the first answer costs once they are there.

    scripts/bench residency --runs 5

Two small models are asked in turn, by the same streamed completion of one token, on Pomona and on mlx_lm.server of the same
environment, which keeps one model and swaps inside its process. Pomona starts a process for each model and sees the old one end
first; into one that was started in advance, if there was time for that. Memory is then really free, and a crash stays with one model.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.startup import wait_for_url
from pomona.models.references import bundled_folder

SMALL = Path("tests/data/stories260K")
PATIENCE_SECONDS = 120
FirstToken = Callable[[str], float]
"""Model -> seconds until the first piece of its streamed answer."""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs: int = parser.parse_args().runs
    print(f"{'seconds to the first token':<44} {'median':>8} {'best':>8} {'worst':>8}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model in ("one", "two"):
            shutil.copytree(bundled_folder() if model == "one" else SMALL, folder / model)
        with pomona(folder, "residency.max_models=1") as first_token:
            report("Pomona: model in memory", repeated(first_token, ["one"], runs))
            report("Pomona: swap, one after another", repeated(first_token, ["two", "one"], runs))
            report("Pomona: swap, 3 s after the last", repeated(first_token, ["two", "one"], runs, pause=3.0))
        with pomona(folder, "residency.keep_alive_seconds=0") as first_token:
            report("Pomona: load into free room", repeated(first_token, ["two"], runs, pause=2.0))
        with mlx_lm_server(folder) as first_token:
            report("mlx_lm.server: model in memory", repeated(first_token, ["one"], runs))
            report("mlx_lm.server: swap, one after another", repeated(first_token, ["two", "one"], runs))
            report("mlx_lm.server: swap, 3 s after the last", repeated(first_token, ["two", "one"], runs, pause=3.0))


def repeated(first_token: FirstToken, models: list[str], runs: int, pause: float = 0.0) -> list[float]:
    """All models in turn, `runs` times, after one round that does not count."""
    seconds: list[float] = []
    for run in range(runs + 1):
        for model in models:
            taken = first_token(model)
            time.sleep(pause)  # in which an idle model goes, or a process gets ready for the next load
            seconds += [taken] if run else []
    return seconds


def report(name: str, seconds: list[float]) -> None:
    """One line of the table."""
    print(f"{name:<44} {statistics.median(seconds):>8.3f} {min(seconds):>8.3f} {max(seconds):>8.3f}", flush=True)


@contextmanager
def pomona(folder: Path, setting: str) -> Generator[FirstToken]:
    """`pomona serve` with both models."""
    ready = folder / "ready.json"
    ready.unlink(missing_ok=True)
    options = ["--port", "0", "--admin-port", "0", "--ready-file", str(ready), "--kv-cache", "64M"]
    settings = ["--set", f'models.folders=["{folder}"]', "--set", "models.default=one", "--set", setting]
    with running([sys.executable, "-m", "pomona", "serve", *options, *settings]) as process:
        url = wait_for_url(process, ready)
        yield lambda model: first_piece(url, model)


@contextmanager
def mlx_lm_server(folder: Path) -> Generator[FirstToken]:
    """mlx-lm's server, which loads whatever path a request names."""
    port = 18790
    with running([sys.executable, "-m", "mlx_lm", "server", "--model", str(folder / "one"), "--port", str(port)]):
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE_SECONDS
        while not answers(url):
            if time.monotonic() > deadline:
                sys.exit("`mlx_lm server` did not become ready.")
            time.sleep(0.1)
        yield lambda model: first_piece(url, str(folder / model))


@contextmanager
def running(command: list[str]) -> Generator[subprocess.Popen[bytes]]:
    """A process, ended with the context."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()


def first_piece(url: str, model: str) -> float:
    """Seconds from the request to the first event of the stream that carries a choice."""
    body = {"model": model, "prompt": "Once upon a time", "max_tokens": 2, "stream": True, "temperature": 0}
    request = urllib.request.Request(f"{url}/v1/completions", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    start, seconds = time.perf_counter(), 0.0
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
        for line in response:
            if not seconds and line.startswith(b"data:") and b'"choices"' in line:
                seconds = time.perf_counter() - start
    return seconds


def answers(url: str) -> bool:
    """It takes requests."""
    try:
        with urllib.request.urlopen(f"{url}/v1/models", timeout=1):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    main()
