"""Every model that can be named on this machine, with what its files say. No MLX in here: the gateway lists models too."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pomona.core.errors import PomonaError
from pomona.core.settings import ModelsSettings
from pomona.models.hub_cache import cached_repositories, looks_like_model
from pomona.models.references import BUNDLED, NO_NAMES, ModelKind, Names, ResolvedModel, all_aliases, named_folders, resolve
from pomona.models.validation import FolderFacts, inspect_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """One name. Either `facts` or `problem` is there: a broken model is listed with the reason, so that it can be mended."""

    id: str
    kind: ModelKind | None
    path: Path | None
    alias_of: str | None = None
    facts: FolderFacts | None = None
    problem: str | None = None
    created: int = 0
    """Time of the config file, in Unix seconds."""


_seen: dict[Path, tuple[object, FolderFacts | None, str | None]] = {}
"""By folder: what it looked like, and what was found then. Reading the headers of many large models takes a while."""


def list_models(settings: ModelsSettings, *, names: Names = NO_NAMES, hub_cache: Path | None = None) -> list[CatalogEntry]:
    """All names: aliases, the bundled model, subfolders of `models.folders`, registered models, the Hugging Face cache; each name once,
    in this order.

    Repositories in the cache that hold no language model of a known architecture are left out: others use that cache as well. One whose
    download did not finish is listed with that.
    """
    folders = [path.name for path in named_folders(settings)]
    shown = [*all_aliases(settings, names), BUNDLED, *folders, *names.folders]
    entries = [describe(name, settings, names=names, hub_cache=hub_cache) for name in dict.fromkeys(shown)]
    return [*entries, *_cached_models(settings, [entry.id for entry in entries], hub_cache)]


def describe(reference: str, settings: ModelsSettings, *, names: Names = NO_NAMES, hub_cache: Path | None = None) -> CatalogEntry:
    """One model by any reference that `resolve` understands. What is wrong with it is in `problem`, not raised."""
    target = all_aliases(settings, names).get(reference)
    alias_of = target if target != reference else None
    try:
        resolved = resolve(reference, settings, names=names, hub_cache=hub_cache)
    except PomonaError as error:
        return CatalogEntry(id=reference, kind=None, path=None, alias_of=alias_of, problem=error.message)
    return _describe_resolved(resolved, alias_of)


def look_into(folder: Path) -> tuple[FolderFacts | None, str | None]:
    """Facts or problem of a model folder; it is read again only when a file in it is another."""
    signature = _signature(folder)
    known = _seen.get(folder)
    if known is None or known[0] != signature:
        try:
            known = signature, inspect_folder(folder), None
        except PomonaError as error:
            known = signature, None, error.message
        _seen[folder] = known
    return known[1:]


def _describe_resolved(resolved: ResolvedModel, alias_of: str | None) -> CatalogEntry:
    facts, problem = look_into(resolved.path)
    return CatalogEntry(
        id=resolved.id,
        kind=resolved.kind,
        path=resolved.path,
        alias_of=alias_of,
        facts=facts,
        problem=problem,
        created=_time_of(resolved.path / "config.json"),
    )


def _signature(folder: Path) -> object:
    try:
        with os.scandir(folder) as entries:
            stats = [(entry.name, entry.stat()) for entry in entries]
        return sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
    except OSError as error:
        return str(error)


def _cached_models(settings: ModelsSettings, known: Sequence[str], hub_cache: Path | None) -> Iterator[CatalogEntry]:
    for name in cached_repositories(hub_cache):
        if name not in known:
            entry = describe(name, settings, hub_cache=hub_cache)
            if entry.facts is not None:
                yield entry
            elif entry.path is None and looks_like_model(name, hub_cache):
                yield replace(entry, kind="hub")


def _time_of(path: Path) -> int:
    try:
        return int(path.stat().st_mtime)
    except OSError:
        return 0
