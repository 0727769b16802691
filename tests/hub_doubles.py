"""The hub, downloads and the registry as doubles: small, in memory, and strict where the real ones are."""

import re
from dataclasses import dataclass, field, replace

from pomona.core.errors import Conflict, Forbidden, InvalidRequest, ModelNotFound, NotFound
from pomona.core.hub import (
    LONGEST_NAME,
    NAME_PATTERN,
    REFERENCE_PATTERN,
    FitReport,
    HubModel,
    PullRequest,
    PullStatus,
    RegisteredModel,
    ScanReport,
)
from pomona.server.services import HubPorts

TINY = HubModel(id="acme/tiny", downloads=3, model_type="llama", parameters=1000, weight_bytes=2000, mlx=True, loadable=True)
UNKNOWN = HubModel(id="acme/unknown", tags=("gguf",), gguf_files=("a.gguf",), gated=True)
SCANNED = "/models"
_REPOSITORY, _NAME = re.compile(REFERENCE_PATTERN), re.compile(NAME_PATTERN)


@dataclass(slots=True)
class FixedHub:
    """A Hub with two models, one of which does not say how large it is."""

    models: tuple[HubModel, ...] = (TINY, UNKNOWN)

    async def search(
        self, query: str, *, limit: int = 20, sort: str = "downloads", mlx_only: bool = True
    ) -> list[tuple[HubModel, FitReport]]:
        """Those whose names hold `query`."""
        del sort
        return [(model, fit_of(model)) for model in self.models if query in model.id and (model.mlx or not mlx_only)][:limit]

    async def describe(self, reference: str) -> tuple[HubModel, FitReport]:
        """One of them. Raises ModelNotFound, InvalidRequest."""
        if not _REPOSITORY.fullmatch(reference):
            raise InvalidRequest(f"{reference!r} does not name a repository.", param="model")
        return next(((model, fit_of(model)) for model in self.models if model.id == reference), (replace(TINY, id=reference), fit_of(TINY)))

    async def delete(self, name: str) -> int:
        """Say what it would free. Raises ModelNotFound."""
        if all(model.id != name for model in self.models):
            raise ModelNotFound(f"There is no model {name!r} to remove.", param="model")
        return 2000


def fit_of(model: HubModel) -> FitReport:
    """It fits, where its size is known."""
    known = model.weight_bytes is not None
    return FitReport(
        memory={"as stored": "fits"} if known else {},
        required_bytes={"as stored": 2300} if known else {},
        memory_bytes=10_000,
        download_bytes=model.weight_bytes or 0,
        disk_free_bytes=10**9,
        best="as stored" if known else None,
    )


@dataclass(slots=True)
class InstantPulls:
    """Pulls that are finished as soon as they begin."""

    ended: list[PullStatus] = field(default_factory=list[PullStatus])

    def start(self, request: PullRequest) -> PullStatus:
        """A download that has ended. Raises InvalidRequest."""
        if not _REPOSITORY.fullmatch(request.reference):
            raise InvalidRequest(f"{request.reference!r} does not name a repository.", param="model")
        if request.name is not None:
            check_name(request.name)
        status = PullStatus(id=f"pull_{len(self.ended)}", reference=request.reference, state="finished", model=request.reference)
        self.ended.append(status)
        return status

    def pulls(self) -> tuple[PullStatus, ...]:
        """The newest first."""
        return tuple(reversed(self.ended))

    async def cancel(self, id: str) -> PullStatus:
        """It has ended already. Raises NotFound."""
        for status in self.ended:
            if status.id == id:
                return status
        raise NotFound(f"There is no pull {id!r}.")


@dataclass(slots=True)
class Notebook:
    """A Registry, Aliases and a Scanner that believe every path."""

    models: dict[str, RegisteredModel] = field(default_factory=dict[str, RegisteredModel])
    named: dict[str, str] = field(default_factory=dict[str, str])

    def entries(self) -> tuple[RegisteredModel, ...]:
        """By name."""
        return tuple(self.models[name] for name in sorted(self.models))

    def register(self, entry: RegisteredModel) -> None:
        """Add it. Raises InvalidRequest, Conflict."""
        check_name(entry.name)
        if entry.name in self.models:
            raise Conflict(f"The name {entry.name!r} is taken.")
        self.models[entry.name] = entry

    def forget(self, name: str) -> None:
        """Raises ModelNotFound."""
        if self.models.pop(name, None) is None:
            raise ModelNotFound(f"No model is registered as {name!r}.", param="name")

    def aliases(self) -> dict[str, str]:
        """All of them."""
        return dict(self.named)

    def set_alias(self, alias: str, reference: str) -> None:
        """Raises InvalidRequest."""
        check_name(alias)
        self.named[alias] = reference

    def remove_alias(self, alias: str) -> None:
        """Raises NotFound."""
        if self.named.pop(alias, None) is None:
            raise NotFound(f"There is no alias {alias!r}.")

    def scan(self, directory: str) -> ScanReport:
        """One that was found and one that could not be registered. Raises Forbidden."""
        if not directory.startswith(SCANNED):
            raise Forbidden(f"{directory!r} may not be scanned.")
        return ScanReport(registered=(RegisteredModel(name="found", path=f"{directory}/found"),), skipped={f"{directory}/bad": "broken"})


def check_name(name: str) -> None:
    """Raises InvalidRequest."""
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise InvalidRequest(f"{name!r} cannot be the name of a model.", param="name")


@dataclass(slots=True)
class HubDoubles:
    """All of them."""

    pulls: InstantPulls = field(default_factory=InstantPulls)
    book: Notebook = field(default_factory=Notebook)

    @property
    def ports(self) -> HubPorts:
        """As the gateway takes them."""
        return HubPorts(hub=FixedHub(), pulls=self.pulls, registry=self.book, aliases=self.book, scanner=self.book)

    def reset(self) -> None:
        """Begin anew."""
        self.pulls.ended.clear()
        self.book.models.clear()
        self.book.named.clear()
