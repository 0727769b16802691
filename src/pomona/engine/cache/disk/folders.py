"""What lies in the folders of all models: told and deleted by anybody, with or without an engine at work there.

Nothing here needs an array, so that a command can look without loading MLX.
"""

import os
import re
import shutil
import stat
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from pomona.core.files.private import locked

ENGINES = "engines"
MANIFEST = "manifest.json"
SUFFIX = ".safetensors"
HALF = ".half-"
"""Files being written begin so."""
GONE = ".gone-"
"""Folders that are being deleted begin so."""
_FOLDER = re.compile(r"(\.gone-)?[0-9a-f]{32}")
_FILE = re.compile(r"[0-9a-f]{32}\.(state|pages[0-9]+)\.safetensors")
"""What is called otherwise is not ours: it is neither counted nor deleted."""
LEAST_ON_DISK = 4096
"""Bytes that the smallest file takes."""
DISK_SHARE = 0.25
"""Of what is free, with our own files counted as free."""


class KeptFile(NamedTuple):
    """One file, in Unix seconds and bytes on disk."""

    used_at: float
    size: int
    path: Path


class _About(msgspec.Struct):
    """Of a manifest, what is for people."""

    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept of one model, over all its versions: settings, devices and MLX's versions have folders of their own."""

    model: str | None
    """None where nobody wrote down whose folder it is."""
    folders: tuple[Path, ...]
    files: int
    nbytes: int
    oldest: float | None
    """When the file that was used longest ago was used, in Unix seconds."""
    newest: float | None


def kept_models(cache_folder: Path) -> list[Kept]:
    """By model, the largest first. Raises OSError."""
    by_model: dict[str | None, list[Path]] = defaultdict(list)
    for folder in version_folders(cache_folder / ENGINES):
        by_model[_title(folder)].append(folder)
    kept = [_kept(model, folders) for model, folders in by_model.items()]
    return sorted(kept, key=lambda each: (-each.nbytes, each.model or ""))


def delete_folders(folders: Iterable[Path]) -> None:
    """Whoever writes there at the time makes a new folder; whoever reads misses. Raises OSError."""
    for folder in folders:
        with space_of(folder.parent):
            gone = folder.with_name(f"{GONE}{uuid.uuid4().hex}")
            try:
                folder.rename(gone)  # at once, or a file could come behind the sweep
            except FileNotFoundError:
                continue
            shutil.rmtree(gone)


def space_of(root: Path) -> AbstractContextManager[None]:
    """Be the only one who deletes for space, or all. Raises OSError."""
    return locked(root / "space")


def bound_bytes(cache_folder: Path, limit_bytes: int, held_bytes: int) -> float:
    """What all models together may take, where they hold so many now. Raises OSError."""
    place = cache_folder / ENGINES
    while not place.exists() and place != place.parent:
        place = place.parent
    return min(limit_bytes, DISK_SHARE * (shutil.disk_usage(place).free + held_bytes))


def version_folders(root: Path) -> list[Path]:
    """Those in `root`; none where that is missing. Raises OSError."""
    try:
        return [Path(entry.path) for entry in _entries(root) if _FOLDER.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def kept_files(folder: Path, on_half: Callable[[Path], None] = lambda _: None) -> Iterator[KeptFile]:
    """Those of one version; `on_half` is told of files that are being written. None where the folder has just gone, or is another
    user's. Raises OSError.
    """
    try:
        entries = _entries(folder)
    except (FileNotFoundError, PermissionError):
        return
    for entry in entries:
        if entry.name.startswith(HALF):
            on_half(Path(entry.path))
        elif _FILE.fullmatch(entry.name) and (file := _facts(entry)):
            yield file


def _kept(model: str | None, folders: list[Path]) -> Kept:
    files = [file for folder in folders for file in kept_files(folder)]
    times = [file.used_at for file in files]
    return Kept(
        model=model,
        folders=tuple(folders),
        files=len(files),
        nbytes=sum(file.size for file in files),
        oldest=min(times, default=None),
        newest=max(times, default=None),
    )


def _title(folder: Path) -> str | None:
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=_About).title
    except (OSError, msgspec.DecodeError):
        return None


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def _facts(entry: os.DirEntry[str]) -> KeptFile | None:
    """None if somebody has just deleted it, and for what is no plain file."""
    try:
        facts = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(facts.st_mode):
        return None
    return KeptFile(facts.st_mtime, max(facts.st_size, LEAST_ON_DISK), Path(entry.path))
