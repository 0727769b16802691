"""The file of registered models, aliases and pins: changed by the command line and by running servers, each at any time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from pomona.core.errors import ConfigurationError
from pomona.core.files.private import locked, write_private
from pomona.core.hub import RegisteredModel

Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What the file holds. `aliases` is alias to reference; `pins` are names of models that stay in memory."""

    version: int = 1
    models: tuple[RegisteredModel, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])
    pins: tuple[str, ...] = ()


class RegistryFile:
    """A reader sees the old file or the new one, never half of one; writers of all processes take turns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Document:
        """All of it; nothing where there is no file. Raises ConfigurationError, also for a file that is damaged."""
        try:
            found = msgspec.json.decode(self.path.read_bytes(), type=Document)
        except FileNotFoundError:
            return Document()
        except (OSError, msgspec.MsgspecError) as error:
            raise ConfigurationError(
                f"The file of registered models and aliases {str(self.path)!r} cannot be read: {error}. "
                "Mend it or put back a copy; or remove it, which forgets registered models, aliases and pins, but no files of models."
            ) from None
        if found.version != 1:
            raise ConfigurationError(
                f"The file {str(self.path)!r} is of version {found.version}, made by a newer Pomona; this one reads 1."
            )
        return found

    def change(self, change: Callable[[Document], Document]) -> None:
        """Replace the content by `change` of it. Raises ConfigurationError, and what `change` raises: then nothing is changed."""
        try:
            with locked(self.path):
                changed = change(self.read())
                write_private(self.path, msgspec.json.format(msgspec.json.encode(changed), indent=1) + b"\n")
        except OSError as error:
            raise ConfigurationError(f"The file {str(self.path)!r} cannot be written: {error.strerror or error}.") from None

    def stamp(self) -> Stamp | None:
        """Differs whenever the file does; None where there is none. Costs one stat."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
