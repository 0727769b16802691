"""Getting, naming and removing models, for programs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from pomona.app import hub_parts
from pomona.core.errors import InvalidRequest
from pomona.core.hub import FitReport, HubModel, PullRequest, Quantization
from pomona.core.settings import Settings
from pomona.library.threads import LoopThread

if TYPE_CHECKING:
    from pomona.hub.assembly import HubParts
    from pomona.hub.pulling import Progress

FORMS: tuple[Quantization, ...] = get_args(Quantization)
Note = Callable[["Progress"], None]
"""Told how far a download is: `state`, `done` of `total` bytes, `file`. Called in a thread of the download."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Getting:
    """The hub and the names of one engine."""

    parts: "HubParts"

    @classmethod
    def of(cls, settings: Settings, loaded: Callable[[], list[Path]]) -> "Getting":
        """With the hub of `settings`; what is in the `loaded` folders is not removed."""
        return cls(parts=hub_parts(settings, loaded=loaded))

    async def pull(self, request: PullRequest, progress: Note | None) -> str:
        """Have a model here, and what to ask for. Checksums and slow disks hold up nobody else: it has a thread of its own."""
        thread = LoopThread("pomona-pull")
        try:
            return await thread.run_from(self.parts.puller.pull(request, progress or _ignore))
        finally:
            thread.stop()

    async def search(self, query: str, *, limit: int, sort: str, mlx_only: bool) -> list[HubModel]:
        """Models of the hub."""
        return [model for model, _ in await self.parts.hub.search(query, limit=limit, sort=sort, mlx_only=mlx_only)]

    async def describe(self, reference: str) -> tuple[HubModel, FitReport]:
        """One model of the hub, and whether it fits here."""
        return await self.parts.hub.describe(reference)

    async def remove(self, name: str) -> int:
        """Delete the files of a model, or take the entry of a registered one back; the bytes that this freed."""
        if any(entry.name == name for entry in self.parts.registry.entries()):
            self.parts.registry.forget(name)
            return 0
        return await self.parts.hub.delete(name)

    def alias(self, name: str, reference: str | None) -> None:
        """Let `name` stand for `reference`, or for nothing any more."""
        if reference is None:
            self.parts.registry.remove_alias(name)
        else:
            self.parts.registry.set_alias(name, reference)


def wanted(reference: str, quantize: Quantization | None, alias: str | None, *, force: bool) -> PullRequest:
    """What `pull` is asked for. Raises InvalidRequest for a form that there is not."""
    if quantize is not None and quantize not in FORMS:
        raise InvalidRequest(f"quantize = {quantize!r} is no form of weights. Allowed: {', '.join(FORMS)}.", param="quantize")
    return PullRequest(reference=reference, quantize=quantize, name=alias, force=force)


def _ignore(_: object) -> None:
    pass
