"""file: addresses. Only files in the folders that the settings name, and nothing that a symbolic link leads out of them to."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pomona.core.errors import PictureRefused
from pomona.pictures.sources.data_urls import shortened, too_large


def read_file_url(url: str, folders: Sequence[Path], *, max_bytes: int, param: str) -> bytes:
    """The bytes of the file that `url` names. Raises PictureRefused; what is outside is not told apart from what is not there."""
    if not folders:
        raise PictureRefused(
            f"{param} is a file: address, and this server reads no files. Send the picture as a data: address, or name folders in the "
            "setting pictures.folders.",
            param=param,
        )
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise PictureRefused(
            f"{param} = {shortened(url)} names the host {parts.netloc!r}; only files of this machine are read.", param=param
        )
    path = _within(unquote(parts.path), folders)
    found = None if path is None else _read(path, max_bytes + 1)
    if found is None:
        places = ", ".join(str(folder) for folder in folders)
        raise PictureRefused(f"{param} = {shortened(url)} names no file that may be read. Files are read from: {places}.", param=param)
    if len(found) > max_bytes:
        raise too_large(max_bytes, param)
    return found


def _within(text: str, folders: Sequence[Path]) -> Path | None:
    """The real path of what `text` names, if it is in one of the folders."""
    try:
        path = Path(text).resolve(strict=True)
        inside = any(path.is_relative_to(folder.expanduser().resolve()) for folder in folders)
    except (OSError, ValueError, RuntimeError):
        return None
    return path if inside else None


def _read(path: Path, most: int) -> bytes | None:
    """Up to `most` bytes of a regular file. Neither a link that was put there meanwhile nor a pipe is opened."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        status = os.fstat(handle)
        moved = path.resolve(strict=True) != path or not os.path.samestat(path.stat(), status)
        if moved or not stat.S_ISREG(status.st_mode):
            return None
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(most)
    except OSError:
        return None
    finally:
        os.close(handle)
