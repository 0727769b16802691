"""Removing the files of a model: from Hugging Face's cache and from the folder of converted models, and from nowhere else."""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from huggingface_hub import HFCacheInfo, scan_cache_dir
from huggingface_hub.errors import CacheNotFound

from pomona.core.errors import Conflict, ModelNotFound
from pomona.core.settings import ModelsSettings
from pomona.hub.registry.registry import LocalRegistry
from pomona.models.hub_cache import cache_folder, cached_repositories, storage_folder
from pomona.models.references import BUNDLED, ModelRef, close_names, named_folders


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """Files that would go, and how many bytes that frees. Of a repository `revision` alone, or all of it."""

    name: str
    kind: Literal["converted", "hub"]
    path: Path
    freed_bytes: int
    revision: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Remover:
    """Removes models. `loaded` are the folders of models that are in memory now, `pulling` says whether a repository is coming."""

    registry: LocalRegistry
    settings: ModelsSettings
    converted: Path
    hub_cache: Path | None = None
    loaded: Callable[[], Iterable[Path]] = tuple
    pulling: Callable[[str], bool] = lambda _repository: False

    def find(self, name: str) -> Removal:
        """What removing `name` would do. Raises ModelNotFound, and Conflict for what is loaded, bundled, or not Pomona's to delete."""
        self._refuse_names(name)
        folder = self.converted / name
        if "/" not in name and not name.startswith(".") and folder.is_dir():
            removal = Removal(name=name, kind="converted", path=folder, freed_bytes=_size_of(folder))
        else:
            removal = self._find_cached(name)
        busy = next((path for path in self.loaded() if path.resolve().is_relative_to(removal.path.resolve())), None)
        if busy is not None:
            raise Conflict(f"{name!r} is loaded. Unload it first: `pomona unload {name}`.")
        return removal

    def remove(self, removal: Removal) -> int:
        """Delete the files; the bytes that were freed. Raises OSError."""
        if removal.kind == "converted":
            hidden = removal.path.with_name(f".{removal.path.name}.old")
            removal.path.rename(hidden)  # gone for everybody in one step
            shutil.rmtree(hidden)
        else:
            self._remove_cached(removal)
        return removal.freed_bytes

    def _refuse_names(self, name: str) -> None:
        if name == BUNDLED:
            raise Conflict(f"{name!r} comes with Pomona and cannot be removed.")
        if name in self.registry.aliases():
            raise Conflict(f"{name!r} is an alias of {self.registry.aliases()[name]!r}: `pomona alias --remove {name}` takes it back.")
        folders = {folder.name: folder for folder in named_folders(self.settings)}
        registered = {entry.name: Path(entry.path) for entry in self.registry.entries()}
        place = folders.get(name) or registered.get(name)
        if place is not None and not place.is_relative_to(self.converted):
            raise Conflict(f"The files of {name!r} are yours, in {str(place)!r}: Pomona did not get them and does not delete them.")

    def _find_cached(self, name: str) -> Removal:
        reference = ModelRef.parse(name)
        known = cached_repositories(self.hub_cache)
        if reference.name not in known:
            close = close_names(name, [*known, *self.registry.names().folders])
            hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
            raise ModelNotFound(f"There is no model {name!r} to remove.{hint} `pomona list` shows what is here.", param="model")
        if self.pulling(reference.name):
            raise Conflict(f"{reference.name!r} is being pulled. Cancel that first.")
        storage = storage_folder(reference.name, self.hub_cache)
        if reference.revision is None:
            return Removal(name=name, kind="hub", path=storage, freed_bytes=_size_of(storage))
        commit = _commit_of(storage, reference.revision)
        if commit is None:
            raise ModelNotFound(f"{reference.name!r} is here, but not at revision {reference.revision!r}.", param="model")
        freed = _held(cache_folder(self.hub_cache), storage).delete_revisions(commit).expected_freed_size
        return Removal(name=name, kind="hub", path=storage / "snapshots" / commit, freed_bytes=int(freed), revision=commit)

    def _remove_cached(self, removal: Removal) -> None:
        """The library first: it knows which blobs other revisions and repositories share. What did not finish is left to us."""
        cache = cache_folder(self.hub_cache)
        storage = removal.path if removal.revision is None else removal.path.parents[1]
        commits = [removal.revision] if removal.revision else [path.name for path in storage.glob("snapshots/*")]
        try:
            _held(cache, storage).delete_revisions(*commits).execute()
        except CacheNotFound:
            return
        if removal.revision is None:
            shutil.rmtree(storage, ignore_errors=True)
            shutil.rmtree(cache / ".locks" / storage.name, ignore_errors=True)
        else:
            (storage / "trees" / f"{removal.revision}.json").unlink(missing_ok=True)


def _held(cache: Path, storage: Path) -> HFCacheInfo:
    """What the library knows of this repository alone: copies of a repository have the same commits, and it would take those of all."""
    found = scan_cache_dir(cache)
    return replace(found, repos=frozenset(repo for repo in found.repos if repo.repo_path.resolve() == storage.resolve()))


def _commit_of(storage: Path, revision: str) -> str | None:
    reference = storage / "refs" / revision
    if ".." in revision.split("/"):
        return None
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    return commit if (storage / "snapshots" / commit).is_dir() else None


def _size_of(folder: Path) -> int:
    """Bytes on the disk: links count nothing."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
