"""From a cache folder to the disk tier of one engine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pomona.core.telemetry import get_logger
from pomona.engine.cache.disk.absent import NoDisk
from pomona.engine.cache.disk.prices import Prices
from pomona.engine.cache.disk.store import DiskStore
from pomona.engine.cache.disk.tier import DiskTier
from pomona.engine.cache.disk.versions import facts_of, version_of
from pomona.engine.cache.model_cache import ModelCache

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskPlace:
    """Where and how much. `model` tells its weights from others and is part of the version; `title` is for people."""

    cache_folder: Path
    limit_bytes: int
    model: Mapping[str, object]
    title: str


def open_tier(cache: ModelCache, place: DiskPlace, settle: Callable[[], None], prices: Prices | None = None) -> NoDisk:
    """The tier; none, and a word in the log, where the folder cannot be used, and none where nothing is shared."""
    if not cache.share or cache.opaque or not place.limit_bytes:
        return NoDisk()
    facts = facts_of(cache, place.model)
    store = DiskStore(place.cache_folder, version_of(facts), place.limit_bytes, {"title": place.title, **facts})
    try:
        return DiskTier(cache, store, settle, prices)
    except OSError as error:
        log.warning("disk_cache_off", folder=str(place.cache_folder), reason=str(error))
        return NoDisk()
