"""A process of its own: `python -m tests.engine.disk.child FOLDER die-before|die-after COUNT` or `… FOLDER serve SEED`."""

import os
import random
import signal
import sys
from pathlib import Path

import mlx.core as mx

from pomona.engine.cache.disk import opening
from pomona.engine.cache.disk.store import DiskStore
from tests.engine.disk.engines import STEM, answer, engine_on
from tests.engine.harness import alone, drive, make_prompt

PROMPT = make_prompt("a", STEM[:70], max_tokens=8)
ROUNDS = 6
LITTLE_ROOM = 150_000
"""Bytes: files are deleted for space all the time."""


class DyingStore(DiskStore):
    """Is killed in its n-th move, with the file not yet there, or just there."""

    left = 1
    before = True

    def move(self, half: Path, path: Path) -> None:
        DyingStore.left -= 1
        if DyingStore.left and self.before:
            return super().move(half, path)
        if not self.before:
            super().move(half, path)
        if not DyingStore.left:
            os.kill(os.getpid(), signal.SIGKILL)
        return None


def die(folder: Path, count: int, *, before: bool) -> None:
    """Keep a prompt, and not get to the end of it."""
    DyingStore.left, DyingStore.before = count, before
    opening.DiskStore = DyingStore
    answer(folder, "llama", PROMPT)


def serve(folder: Path, seed: int) -> None:
    """Engines that start, answer and end while others do the same here."""
    chosen = random.Random(seed)
    for number in range(ROUNDS):
        rows = [make_prompt(str(each), [*STEM[: chosen.choice((32, 40, 64))], each], max_tokens=6) for each in range(3)]
        with engine_on(folder, "llama", LITTLE_ROOM if number % 2 else 2**30) as engine:
            got = drive(engine, {0: rows[:2], 4: rows[2:]})
        for row in rows:
            assert got[row.id].tokens == alone("llama", row).tokens


if __name__ == "__main__":
    mx.set_default_device(mx.cpu)
    place, task, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    if task == "serve":
        serve(place, count)
    else:
        die(place, count, before=task == "die-before")
