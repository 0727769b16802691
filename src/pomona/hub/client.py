"""`Hub` of `pomona.core.ports`: search, describe, delete."""

from collections.abc import Mapping
from dataclasses import dataclass

from pomona.core.errors import InvalidRequest
from pomona.core.hub import FitReport, HubModel, PullRequest
from pomona.hub.deleting import Remover
from pomona.hub.download.cache import RepositoryCache
from pomona.hub.fitting import Needs, fit_report
from pomona.hub.naming import Wanted
from pomona.hub.planning import Planner
from pomona.hub.remote.connection import HubConnection, Sort, in_thread
from pomona.hub.remote.describing import hub_model
from pomona.models.hub_cache import cache_folder, needed_files

SORTS: Mapping[str, Sort] = {"downloads": "downloads", "likes": "likes", "created": "createdAt", "updated": "lastModified"}
MOST_RESULTS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalHub:
    """The hub as seen from this machine."""

    connection: HubConnection
    planner: Planner
    remover: Remover

    async def search(
        self, query: str, *, limit: int = 20, sort: str = "downloads", mlx_only: bool = True
    ) -> list[tuple[HubModel, FitReport]]:
        """Model repositories that match, and whether they fit as far as the search tells. Raises InvalidRequest for bounds, HubFailed."""
        if sort not in SORTS:
            raise InvalidRequest(f"sort={sort!r} is not known. Allowed: {', '.join(SORTS)}.", param="sort")
        if not 1 <= limit <= MOST_RESULTS:
            raise InvalidRequest(f"limit={limit!r} is out of bounds. Allowed: 1 to {MOST_RESULTS}.", param="limit")
        found = await self.connection.list_models(query, limit=limit, sort=SORTS[sort], mlx_only=mlx_only)
        return [(model, self._fit(model)) for model in map(hub_model, found)]

    async def describe(self, reference: str) -> tuple[HubModel, FitReport]:
        """One repository, or one GGUF file of it, and whether it fits here. Raises ModelNotFound, Forbidden where it is gated."""
        wanted = Wanted.parse(reference)
        if wanted.file:
            plan = await self.planner.plan(PullRequest(reference=reference))
            return plan.model, plan.report
        repository, model = await self.planner.look_up(wanted)
        cache = RepositoryCache(repository, self.planner.hub_cache)
        files = repository.choose(needed_files(file.name for file in repository.files))
        needs = Needs(download_bytes=sum(file.size - cache.held_bytes(file) for file in cache.missing(files)))
        return model, fit_report(model, self.planner.machine, needs, cache.storage)

    async def delete(self, name: str) -> int:
        """Remove the files of a model; the bytes that were freed. Raises ModelNotFound, Conflict where it is loaded or bundled."""
        return await in_thread(lambda: self.remover.remove(self.remover.find(name)))

    def _fit(self, model: HubModel) -> FitReport:
        needs = Needs(download_bytes=model.weight_bytes or 0)
        return fit_report(model, self.planner.machine, needs, cache_folder(self.planner.hub_cache))
