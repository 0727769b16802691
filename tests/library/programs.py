"""Whole programs that use an engine, for what only shows at their end."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60
BEGINNING = """
import gc, os, signal, sys, threading, time, warnings
import psutil
from pomona import AsyncEngine, Engine
from pomona.core.errors import Cancelled, Conflict

SETTINGS = {"engine.kv_cache_bytes": 2**26, "engine.max_context": 1024, "residency.guard": False}

def children():
    return [each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE]

def gone(processes, seconds=30):
    # not by waitpid, which would take their ends away from asyncio
    deadline = time.monotonic() + seconds
    while any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Run `program` behind `BEGINNING`, to its end."""
    return subprocess.run(
        [sys.executable, "-c", BEGINNING + program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        process_group=0,  # what a program sends to its group is not for the tests
        check=False,
    )
