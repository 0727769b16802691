"""Run all tests as two processes at a time: most of one half wait for servers and programs that they started, those of the other compute.

What the first half prints is shown as it comes, what the second printed is shown when both have ended. Fails when either does.
"""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIRST_HALF = ("api", "chaos", "cli", "clients", "compat", "contracts", "docs", "e2e", "hub", "library", "scripts")
"""Folders of `tests`. All others, new ones too, are the second half."""


def main() -> int:
    """The exit code."""
    folders = [f"tests/{name}" for name in FIRST_HALF]
    run = [sys.executable, "-m", "pytest"]
    with tempfile.TemporaryFile() as printed:
        second = subprocess.Popen([*run, "tests", *(f"--ignore={folder}" for folder in folders)], cwd=ROOT, stdout=printed, stderr=printed)
        first = subprocess.Popen([*run, *folders], cwd=ROOT)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both, and they say what they did
        codes = first.wait(), second.wait()
        printed.seek(0)
        sys.stdout.buffer.write(printed.read())
    print(f"tests: exit {codes[0]} and {codes[1]}")
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
