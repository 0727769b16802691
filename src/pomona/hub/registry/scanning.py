"""Finding models and adapters below a folder and registering them: never outside the folders that the settings name."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pomona.core.errors import Forbidden, NotFound, PomonaError
from pomona.core.hub import RegisteredModel, ScanReport
from pomona.core.ports import Registry
from pomona.models.adapters.reading import is_adapter, read_adapter

DEPTH = 4
"""Folders below the given one that are looked into."""
MOST_FOLDERS = 10_000
SCANNED = "scan"
_UNUSUAL = re.compile(r"[^\w.:-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderScanner:
    """`Scanner` of `pomona.core.ports`. `roots` are the folders inside which it may look."""

    registry: Registry
    roots: Sequence[Path]

    def scan(self, directory: str) -> ScanReport:
        """Register what is below `directory` and has no name yet. Raises Forbidden outside of the roots, NotFound."""
        place = self._inside(directory)
        known = {entry.path for entry in self.registry.entries()}
        registered: list[RegisteredModel] = []
        skipped: dict[str, str] = {}
        for folder in _candidates(place):
            if str(folder) in known:
                continue
            try:
                entry = _entry(folder, {each.name for each in (*self.registry.entries(), *registered)})
                self.registry.register(entry)
                registered.append(entry)
            except PomonaError as error:
                skipped[str(folder)] = error.message
        return ScanReport(registered=tuple(registered), skipped=skipped)

    def _inside(self, directory: str) -> Path:
        """Links are followed first: one must not lead out."""
        place = Path(directory).expanduser().resolve()
        roots = [root.expanduser().resolve() for root in self.roots]
        if not any(place.is_relative_to(root) for root in roots):
            allowed = ", ".join(repr(str(root)) for root in roots) or "none is set"
            raise Forbidden(f"{directory!r} may not be scanned. Only folders of models.folders and models.adapter_folders are: {allowed}.")
        if not place.is_dir():
            raise NotFound(f"There is no folder {directory!r}.")
        return place


def _candidates(place: Path) -> Iterator[Path]:
    """Folders that mean to be a model or an adapter, without those below them."""
    for seen, (folder, children, files) in enumerate(os.walk(place), start=1):
        path = Path(folder)
        found = "config.json" in files or is_adapter(path)
        if found:
            yield path
        deep = len(path.relative_to(place).parts) >= DEPTH
        children[:] = [] if found or deep or seen > MOST_FOLDERS else sorted(name for name in children if not name.startswith("."))


def _entry(folder: Path, taken: set[str]) -> RegisteredModel:
    name = _free_name(folder, taken)
    if not is_adapter(folder):
        return RegisteredModel(name=name, path=str(folder), registered_by=SCANNED)
    base = read_adapter(folder).base
    if base is None:
        raise NotFound(f"The adapter in {str(folder)!r} does not say for which model it was made. Register it by hand.")
    return RegisteredModel(name=name, path=str(folder), base=base, registered_by=SCANNED)


def _free_name(folder: Path, taken: set[str]) -> str:
    """The name of the folder, or with that of the folder above it where two are called the same."""
    parent, name = (_UNUSUAL.sub("-", each) for each in (folder.parent.name, folder.name))
    return f"{parent}-{name}" if name in taken else name
