"""A long prompt asked again: in memory, after a restart, and after the engine was killed. And what keeping it on disk costs other rows.

    scripts/bench restart --runs 3

The model is the bundled one with a longer context in its config: as much work per token as ever, though what it says behind token 4,096
means nothing. Each run has new prompts, and servers of its own on a cache folder of its own. Targets: the repeat in memory takes 0.05 of
the cold time to the first token, the one after a restart 0.1. Decoding beside the writing is compared with a server without a disk tier.
"""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.startup import wait_for_url
from pomona.models.references import bundled_folder

PATIENCE_SECONDS = 300
DECODED = 256
"""Tokens of an answer whose speed is measured."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready."""

    url: str
    process: subprocess.Popen[bytes]

    def first_token(self, prompt: list[int]) -> float:
        """Seconds from the request to the first piece of its streamed answer."""
        return self.ask(prompt, 1)[0]

    def decode_speed(self, prompt: list[int]) -> float:
        """Tokens a second behind the first."""
        first, last = self.ask(prompt, DECODED)
        return (DECODED - 1) / (last - first)

    def ask(self, prompt: list[int], tokens: int) -> tuple[float, float]:
        """Seconds to the first and to the last piece."""
        body = {"model": "long", "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True}
        data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        start, times = time.perf_counter(), list[float]()
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/v1/completions", data, headers), timeout=PATIENCE_SECONDS) as lines:
            times += [time.perf_counter() - start for line in lines if line.startswith(b"data:") and b'"choices":[{' in line]
        return times[0], times[-1]

    def kill_engine(self) -> None:
        """As a fault would; the server starts another."""
        [engine] = [child for child in psutil.Process(self.process.pid).children() if "pomona.engine.process" in child.cmdline()]
        engine.send_signal(signal.SIGKILL)
        engine.wait(PATIENCE_SECONDS)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--tokens", type=int, nargs="*", default=[2048, 8192])
    arguments = parser.parse_args()
    print("| prompt | cold | again, in memory | after a restart | engine killed | in memory / cold | restart / cold | killed / cold |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as name:
        model = long_model(Path(name))
        for tokens in arguments.tokens:
            runs = [times_of(model, tokens, run) for run in range(arguments.runs)]
            cold, warm, restarted, killed = (statistics.median(times) for times in zip(*runs, strict=True))
            shares = " | ".join(f"{each / cold:.3f}" for each in (warm, restarted, killed))
            print(f"| {tokens:,} | {cold:.2f} s | {warm:.3f} s | {restarted:.3f} s | {killed:.3f} s | {shares} |", flush=True)
        print(f"\nDecoding while a prompt is being kept, tokens a second: {decoding(model, arguments.runs)}")


def long_model(folder: Path) -> Path:
    """The bundled model for 16,384 tokens."""
    model = folder / "long"
    shutil.copytree(bundled_folder(), model)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    (model / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 16384}), encoding="utf-8")
    return model


def times_of(model: Path, tokens: int, run: int) -> tuple[float, float, float, float]:
    """Seconds to the first token: cold, in memory, after a restart, after a kill."""
    prompt = prompt_of(tokens, run)
    with tempfile.TemporaryDirectory() as cache:
        with serving(model, Path(cache)) as server:
            cold, warm = server.first_token(prompt), server.first_token(prompt)
        with serving(model, Path(cache)) as server:
            restarted = server.first_token(prompt)
            server.kill_engine()
            server.first_token(prompt_of(64, run + 100))  # waits for the new engine
            killed = server.first_token(prompt)
    return cold, warm, restarted, killed


def decoding(model: Path, runs: int) -> str:
    """With and without a disk tier, in turn: medians of speeds right behind a prompt of 4,096 tokens."""
    speeds: dict[int, list[float]] = {0: [], 2**32: []}
    for run in range(runs):
        for limit in speeds:
            with tempfile.TemporaryDirectory() as cache, serving(model, Path(cache), limit) as server:
                speeds[limit] += [server.decode_speed(prompt_of(4096, 1000 + 10 * run + again)) for again in range(3)]
    off, on = (statistics.median(each) for each in speeds.values())
    return f"{on:.1f} with, {off:.1f} without a disk tier ({on / off:.3f})"


def prompt_of(tokens: int, seed: int) -> list[int]:
    """Ids of nothing in particular."""
    chosen = random.Random(seed)
    return [chosen.randrange(1000, 8000) for _ in range(tokens)]


@contextmanager
def serving(model: Path, cache: Path, limit_bytes: int = 2**32) -> Generator[Server]:
    """`pomona serve` until the context ends, warmed up, then told to end."""
    ready = cache / "ready.json"
    ready.unlink(missing_ok=True)
    options = ["--port", "0", "--admin-port", "0", "--ready-file", str(ready), "--kv-cache", "2G"]
    chosen = [
        f'models.folders=["{model.parent}"]',
        "models.default=long",
        "residency.spare_process=false",
        f"engine.disk_cache_bytes={limit_bytes}",
    ]
    command = [sys.executable, "-m", "pomona", "serve", *options, *(word for each in chosen for word in ("--set", each))]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as process:
        try:
            server = Server(wait_for_url(process, ready), process)
            server.first_token(prompt_of(600, 999))
            yield server
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
