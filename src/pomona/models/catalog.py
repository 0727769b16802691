"""Every model that can be named on this machine, with what its files say. No MLX in here: the gateway lists models too."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pomona.core.errors import PomonaError
from pomona.core.settings import ModelsSettings
from pomona.models.adapters.configuration import CONFIG
from pomona.models.adapters.facts import AdapterFacts
from pomona.models.adapters.fitting import check_fit
from pomona.models.adapters.names import base_among, look_into_adapter, named_adapters
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
    adapter: AdapterFacts | None = None
    """`facts` and `path` are then those of its base."""
    base: str | None = None
    """The model that an adapter stands on."""


_seen: dict[Path, tuple[object, FolderFacts | None, str | None]] = {}
"""By folder: what it looked like, and what was found then. Reading the headers of many large models takes a while."""


def list_models(settings: ModelsSettings, *, names: Names = NO_NAMES, hub_cache: Path | None = None) -> list[CatalogEntry]:
    """All names: aliases, the bundled model, subfolders of `models.folders`, registered models, the Hugging Face cache, adapters; each name
    once, in this order.

    Repositories in the cache that hold no language model of a known architecture are left out: others use that cache as well. One whose
    download did not finish is listed with that.
    """
    folders = [path.name for path in named_folders(settings)]
    shown = [*all_aliases(settings, names), BUNDLED, *folders, *names.folders]
    entries = [describe(name, settings, names=names, hub_cache=hub_cache) for name in dict.fromkeys(shown)]
    entries += _cached_models(settings, [entry.id for entry in entries], hub_cache)
    return [*entries, *_adapters(settings, names, entries, hub_cache)]


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
    adapter = None
    if resolved.adapter is not None and facts is not None:
        adapter, problem = _look_into_adapter(resolved, facts)
        facts = facts if adapter else None
    return CatalogEntry(
        id=resolved.id,
        kind=resolved.kind,
        path=resolved.path,
        alias_of=alias_of,
        facts=facts,
        problem=problem,
        created=_time_of(resolved.adapter / CONFIG if resolved.adapter else resolved.path / "config.json"),
        adapter=adapter,
        base=resolved.base.id if resolved.base else None,
    )


def _look_into_adapter(resolved: ResolvedModel, facts: FolderFacts) -> tuple[AdapterFacts | None, str | None]:
    """Facts or problem of the adapter of `resolved`, whose model's facts are given."""
    try:
        adapter = look_into_adapter(resolved.adapter or resolved.path)
        check_fit(adapter, facts.tensors, facts.config, repr(resolved.base.id if resolved.base else resolved.id))
    except PomonaError as error:
        return None, error.message
    return adapter, None


def _adapters(settings: ModelsSettings, names: Names, models: Sequence[CatalogEntry], hub_cache: Path | None) -> Iterator[CatalogEntry]:
    """Every named adapter as MODEL+NAME, for the model that it says it was made for; as +NAME, with the reason, where that is not here."""
    usable = [(entry.id, entry.path) for entry in models if entry.path is not None and entry.facts is not None and not entry.alias_of]
    for name, folder in named_adapters(settings, names.adapters).items():
        registered_for = names.aliases.get(name, "").rpartition("+")[0]
        try:
            base = registered_for or base_among(look_into_adapter(folder).base, usable)
            problem = f"The model that the adapter {name!r} was made for is not here, or it does not say which. Ask for it as MODEL+{name}."
        except PomonaError as error:
            base, problem = None, error.message
        if base is None:
            yield CatalogEntry(id=f"+{name}", kind=None, path=None, problem=problem, created=_time_of(folder / CONFIG))
        else:
            yield describe(f"{base}+{name}", settings, names=names, hub_cache=hub_cache)


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
