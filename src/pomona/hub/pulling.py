"""One pull from beginning to end: ask, check memory and disk, download, convert, name.

Nothing is downloaded before the checks have passed. What was downloaded stays, whatever happens: the next try goes on from there.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pomona.core.hub import PullRequest, PullState
from pomona.hub.converting import COMMAND, Conversion, convert
from pomona.hub.download.cache import RepositoryCache
from pomona.hub.download.locks import locked
from pomona.hub.download.repository import RemoteFile, total_size
from pomona.hub.download.transfer import Transfers
from pomona.hub.fitting import Machine
from pomona.hub.naming import Wanted, converted_folder, write_origin
from pomona.hub.planning import Plan, Planner
from pomona.hub.registry.registry import LocalRegistry
from pomona.hub.remote.connection import HubConnection
from pomona.hub.remote.faults import offline
from pomona.models.hub_cache import find_snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a pull is. Bytes are of its files; while it converts, `done` of `total` are pieces of that work."""

    state: PullState
    done: int = 0
    total: int = 0
    file: str | None = None


Note = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Puller:
    """Gets models. `converted` is where converted ones go, `converter` the command that makes them."""

    connection: HubConnection
    registry: LocalRegistry
    machine: Machine
    converted: Path
    hub_cache: Path | None = None
    converter: Sequence[str] = COMMAND

    @property
    def planner(self) -> Planner:
        """What looks before it leaps."""
        return Planner(connection=self.connection, machine=self.machine, converted=self.converted, hub_cache=self.hub_cache)

    async def pull(self, request: PullRequest, note: Note) -> str:
        """Have the model here; returns what to ask for. Raises as `Planner.plan` and `Planner.check`, HubFailed where downloads break for
        good, and what converting and naming raise.
        """
        if request.name is not None:
            self.registry.check_alias(request.name)
        name = self._here(request) if self.connection.is_offline else await self._get(request, note)
        if request.name is not None:
            self.registry.set_alias(request.name, name)
        return name

    async def _get(self, request: PullRequest, note: Note) -> str:
        plan = await self.planner.plan(request)
        self.planner.check(plan, request)
        await self._download(plan, note)
        return await self._convert(plan, note) if plan.target else plan.wanted.reference

    def _here(self, request: PullRequest) -> str:
        """Offline, what is whole already counts as pulled."""
        wanted = Wanted.parse(request.reference)
        folder = converted_folder(self.converted, wanted, request.quantize)
        if request.quantize or wanted.file:
            if folder.is_dir():
                return folder.name
        elif find_snapshot(wanted.repository, wanted.revision, self.hub_cache):
            return wanted.reference
        raise offline(self.connection.subject(wanted.repository, wanted.revision))

    async def _download(self, plan: Plan, note: Note) -> None:
        cache = RepositoryCache(plan.repository, self.hub_cache)
        missing = cache.missing(plan.files)
        held = {file.digest: file.size for file in plan.files} | {file.digest: cache.held_bytes(file) for file in missing}
        total = total_size(plan.files)

        def heard(file: RemoteFile, size: int) -> None:
            held[file.digest] = size
            note(Progress(state="downloading", done=sum(held.values()), total=total, file=file.name))

        cache.begin(listed=plan.wanted.file is None)
        note(Progress(state="downloading", done=sum(held.values()), total=total))
        async with self.connection.client() as client:
            transfers = Transfers(connection=self.connection, client=client, cache=cache, note=heard)
            await _all_of(missing, transfers.fetch, self.connection.settings.workers)
        for file in plan.files:
            cache.link(file)
        cache.point()

    async def _convert(self, plan: Plan, note: Note) -> str:
        """A copy appears under its name when it is whole, and takes the place of one that was made of an older commit."""
        assert plan.target is not None
        target = plan.target
        half = target.with_name(f".{target.name}.new")
        async with locked(target.with_name(f".{target.name}.lock")):
            if not plan.is_converted:
                shutil.rmtree(half, ignore_errors=True)
                source = RepositoryCache(plan.repository, self.hub_cache).snapshot
                work = Conversion(source=source, target=half, quantize=plan.origin.quantize, gguf=plan.wanted.file)
                note(Progress(state="converting"))
                try:
                    await convert(work, lambda done, total, what: note(_converting(done, total, what)), command=self.converter)
                    write_origin(half, plan.origin)
                    _swap(half, target)
                finally:
                    shutil.rmtree(half, ignore_errors=True)
        return target.name


def _converting(done: int, total: int, what: str) -> Progress:
    return Progress(state="converting", done=done, total=total, file=what)


def _swap(new: Path, target: Path) -> None:
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


async def _all_of(files: Sequence[RemoteFile], work: Callable[[RemoteFile], Awaitable[None]], at_a_time: int) -> None:
    """Work on all files, some at a time. The first failure stops the others and is raised."""
    queue = list(reversed(files))

    async def take() -> None:
        while queue:
            await work(queue.pop())

    tasks = [asyncio.ensure_future(take()) for _ in range(min(at_a_time, len(queue)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
