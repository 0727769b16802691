"""Engines with a disk tier, one after the other on one folder, as after restarts."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pomona.core.generation import Prompt
from pomona.engine.cache.disk.opening import DiskPlace
from pomona.engine.cache.disk.prices import Prices
from pomona.engine.engine import Engine
from tests.engine.harness import Result, drive, make_engine
from tests.families import VOCABULARY

STEM = [(7 * i + 3) % VOCABULARY for i in range(90)]
ROOM = 2**30


class AlwaysPays(Prices):
    """Tiny models compute quicker than any disk reads; here it is the disk that is tested."""

    def pays(self, tokens: int, nbytes: int) -> bool:
        del tokens, nbytes
        return True

    def patience_seconds(self, tokens: int) -> float:
        del tokens
        return 60.0


def place(folder: Path, name: str = "tiny", limit_bytes: int = ROOM) -> DiskPlace:
    return DiskPlace(cache_folder=folder, limit_bytes=limit_bytes, model={"weights": name}, title=name)


@contextmanager
def engine_on(folder: Path, name: str, limit_bytes: int = ROOM, **settings: object) -> Generator[Engine]:
    """An engine whose memory is empty; what it kept is on disk when it is closed."""
    engine = make_engine(name, **settings)
    engine.keep_on_disk(place(folder, name, limit_bytes), AlwaysPays())
    try:
        yield engine
    finally:
        engine.close()
        engine.check_integrity()


def answer(folder: Path, name: str, *prompts: Prompt, **settings: object) -> dict[str, Result]:
    """What an engine that starts now makes of `prompts`."""
    with engine_on(folder, name, ROOM, **settings) as engine:
        return drive(engine, {0: list(prompts)})


def files(folder: Path) -> list[Path]:
    """All that is kept, by name."""
    return sorted(folder.rglob("*.safetensors"))
