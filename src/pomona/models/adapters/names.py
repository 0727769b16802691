"""From the name of an adapter, the part behind the `+`, to its folder; and from an adapter to the model that it was made for."""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path

from pomona.core.errors import ModelNotFound, PomonaError
from pomona.core.settings import ModelsSettings
from pomona.models.adapters.facts import AdapterFacts
from pomona.models.adapters.reading import fingerprint, is_adapter, read_adapter
from pomona.models.hub_cache import find_snapshot

PATH_MARKS = ("/", ".", "~")

_seen: dict[Path, tuple[bytes, AdapterFacts | None, PomonaError | None]] = {}
"""By folder: what its files were like, and what was found then."""


def named_adapters(settings: ModelsSettings, registered: Mapping[str, Path]) -> dict[str, Path]:
    """Folders by name: those of `models.adapters`, subfolders of `models.adapter_folders`, registered ones; the first of equal names."""
    found = {name: folder.expanduser() for name, folder in settings.adapters.items()}
    for folder in settings.adapter_folders:
        place = folder.expanduser()
        for child in sorted(place.iterdir()) if place.is_dir() else ():
            if child.is_dir() and is_adapter(child):
                found.setdefault(child.name, child)
    return found | {name: folder for name, folder in registered.items() if name not in found}


def find_adapter(
    wanted: str, settings: ModelsSettings, registered: Mapping[str, Path], *, working_folder: Path, hub_cache: Path | None = None
) -> Path:
    """The folder of the adapter `wanted`: a name, a path, or a repository in the Hugging Face cache. Raises ModelNotFound."""
    if wanted.startswith(PATH_MARKS):
        folder = working_folder / Path(wanted).expanduser()
        if folder.is_dir():
            return folder.resolve()
        raise ModelNotFound(f"There is no adapter folder {wanted!r}.", param="model")
    names = named_adapters(settings, registered)
    snapshot = find_snapshot(wanted, None, hub_cache) if wanted not in names and wanted.count("/") == 1 else None
    if wanted in names or snapshot is not None:
        return snapshot or names[wanted]
    close = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
    raise ModelNotFound(
        f"There is no adapter {wanted!r}. {hint}Adapters are named in models.adapters, are subfolders of models.adapter_folders, or are "
        "registered.",
        param="model",
    )


def look_into_adapter(folder: Path) -> AdapterFacts:
    """`read_adapter`, done again only when its files are others. Raises AdapterUnusable."""
    mark = fingerprint(folder)
    known = _seen.get(folder)
    if known is None or known[0] != mark:
        try:
            known = mark, read_adapter(folder), None
        except PomonaError as error:
            known = mark, None, error
        _seen[folder] = known
    _, facts, problem = known
    if facts is None:
        raise type(problem)(problem.message) if problem else AssertionError("neither facts nor a problem")
    return facts


def base_among(declared: str | None, models: Iterable[tuple[str, Path]]) -> str | None:
    """Which of `models` (name, folder) an adapter was made for, as far as its own word for it tells: the name, the folder, or their end."""
    if not declared:
        return None
    known = list(models)
    exact = next((name for name, folder in known if declared == name or Path(declared) == folder), None)
    end = _end(declared)
    return exact or next((name for name, folder in known if end in {_end(name), folder.name.lower()}), None)


def _end(name: str) -> str:
    """Without the organisation, or the folders above."""
    return name.rstrip("/").rpartition("/")[2].lower()
