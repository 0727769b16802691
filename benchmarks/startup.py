"""How long Pomona takes to start: the command line, and a server up to the first token of the bundled model.

    scripts/bench startup --runs 10

Targets: importing the command line and `pomona --help` under 0.15 s; cold start to first token under 4 s on two CPU cores.
Each figure is from fresh processes, so it contains the interpreter's own start (some 20 ms).
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

POLL_SECONDS = 0.005
PATIENCE_SECONDS = 120


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10, help="runs of the quick ones; servers are started a third as often")
    runs: int = parser.parse_args().runs
    print(f"{'':<44} {'median':>8} {'best':>8} {'worst':>8}  seconds")
    report("python -c pass", runs, lambda: timed([sys.executable, "-c", "pass"]))
    report("import pomona.cli", runs, lambda: timed([sys.executable, "-c", "import pomona.cli"]))
    report("pomona --help", runs, lambda: timed([sys.executable, "-m", "pomona", "--help"]))
    report("pomona serve, from start to first token", max(1, runs // 3), serve_to_first_token)


def report(name: str, runs: int, measure: Callable[[], float]) -> None:
    """Run once to warm the disk cache, then measure."""
    measure()
    seconds = [measure() for _ in range(runs)]
    print(f"{name:<44} {statistics.median(seconds):>8.3f} {min(seconds):>8.3f} {max(seconds):>8.3f}", flush=True)


def timed(command: list[str]) -> float:
    """Seconds until a command ends."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def serve_to_first_token() -> float:
    """Seconds from starting `pomona serve` until the first piece of a streamed answer."""
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "ready.json"
        command = [sys.executable, "-m", "pomona", "serve", "--port", "0", "--admin-port", "0", "--ready-file", str(ready)]
        start = time.perf_counter()
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            try:
                wait_for_first_token(wait_for_url(process, ready))
                return time.perf_counter() - start
            finally:
                process.terminate()


def wait_for_url(process: subprocess.Popen[bytes], ready: Path) -> str:
    """The address of the server, once it is ready."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (ready.is_file() and ready.stat().st_size):
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit("`pomona serve` did not become ready. Start it by hand to see why.")
        time.sleep(POLL_SECONDS)
    url: str = json.loads(ready.read_text(encoding="utf-8"))["url"]
    return url


def wait_for_first_token(url: str) -> None:
    """Ask for a short streamed answer and read until its first text."""
    body = {"model": "pomona-tiny", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 8, "stream": True}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
        for line in response:
            if line.startswith(b"data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
                return


if __name__ == "__main__":
    main()
