"""A hub on this machine, an empty cache, and the parts that get models from the one into the other."""

import asyncio
import sys
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import huggingface_hub.constants
import pytest

from pomona.core.hub import PullRequest
from pomona.core.settings import Settings
from pomona.hub.fitting import Machine
from pomona.hub.planning import Planner
from pomona.hub.pulling import Progress, Puller
from pomona.hub.registry.file import RegistryFile
from pomona.hub.registry.registry import LocalRegistry
from pomona.hub.remote.connection import HubConnection
from tests.hub.server import FakeHub, digest_of, serving

STORIES = Path(__file__).parents[1] / "data" / "stories260K"
CONVERTER = (sys.executable, str(Path(__file__).parent / "converter.py"))


@pytest.fixture
def hub() -> Generator[FakeHub]:
    """A hub that has the model acme/tiny."""
    with serving(FakeHub()) as served:
        served.add_folder("acme/tiny", STORIES)
        yield served


@pytest.fixture
def online(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """The hub, and a library that may ask it: tests are offline else. The cache and the home are empty."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return hub


@dataclass(slots=True)
class Bench:
    """A puller whose waits are written down instead of waited for."""

    hub: FakeHub
    folder: Path
    settings: dict[str, object] = field(default_factory=dict[str, object])
    machine: Machine = field(default_factory=lambda: Machine(memory_bytes=2**34))
    waits: list[float] = field(default_factory=list[float])
    progress: list[Progress] = field(default_factory=list[Progress])

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def converted(self) -> Path:
        return self.folder / "converted"

    @property
    def connection(self) -> HubConnection:
        settings = Settings.model_validate({"hub": {"endpoint": self.hub.url, "retries": 3, "timeout_seconds": 20, **self.settings}})

        async def sleep(seconds: float) -> None:
            self.waits.append(seconds)
            await asyncio.sleep(0)

        return HubConnection(settings.hub, sleep=sleep)

    @property
    def registry(self) -> LocalRegistry:
        return LocalRegistry(RegistryFile(self.folder / "models.json"), Settings().models, self.converted, hub_cache=self.cache)

    @property
    def puller(self) -> Puller:
        return Puller(
            connection=self.connection,
            registry=self.registry,
            machine=self.machine,
            converted=self.converted,
            hub_cache=self.cache,
            converter=CONVERTER,
        )

    @property
    def planner(self) -> Planner:
        return self.puller.planner

    def pull(self, reference: str = "acme/tiny", **more: object) -> str:
        """Pull to the end."""
        return asyncio.run(self.puller.pull(PullRequest(reference=reference, **more), self.progress.append))  # pyright: ignore[reportArgumentType]

    def snapshot(self, name: str = "acme/tiny", commit: str = "a" * 40) -> Path:
        """Where the files of a repository are."""
        return self.cache / f"models--{name.replace('/', '--')}" / "snapshots" / commit

    def partial(self, file: str, name: str = "acme/tiny") -> Path:
        """Where the beginning of a file is kept."""
        content = self.hub.repos[name].files[file]
        return self.snapshot(name).parents[1] / "blobs" / f"{digest_of(content)}.incomplete"


@pytest.fixture
def bench(online: FakeHub, tmp_path: Path) -> Bench:
    """What pulls, with retries and an empty cache."""
    return Bench(online, tmp_path)
