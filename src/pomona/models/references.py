"""From the name of a model to a folder on this machine.

Order: aliases of the settings, a local folder, the bundled model, subfolders of `models.folders`, the local Hugging Face cache.
Nothing is downloaded.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal, Self

from pomona.core.errors import ConfigurationError, InvalidRequest, ModelNotFound, UnsupportedField
from pomona.core.settings import ModelsSettings
from pomona.models.hub_cache import cached_repositories, find_snapshot

BUNDLED = "pomona-tiny"
ModelKind = Literal["bundled", "folder", "hub"]

_REFERENCE = re.compile(r"(?P<name>[^@+]+)(@(?P<revision>[^@+]+))?(\+(?P<adapter>[^@+]+))?")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_ADVICE = (
    "`pomona list` shows every model that is here. Others: the path of a folder with config.json and *.safetensors, "
    "or a Hugging Face repository in the local cache (`hf download ORGANISATION/NAME` puts one there)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """`name@revision+adapter`, the last two optional. A path (from `/`, `.` or `~`) is taken whole."""

    name: str
    revision: str | None = None
    adapter: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidRequest where the text is not of that form."""
        if text.startswith(("/", ".", "~")):
            return cls(name=text)
        match = _REFERENCE.fullmatch(text)
        if match is None:
            raise InvalidRequest(f"{text!r} does not name a model. Write NAME, NAME@REVISION or NAME@REVISION+ADAPTER.", param="model")
        return cls(**match.groupdict())

    def __str__(self) -> str:
        return self.name + (f"@{self.revision}" if self.revision else "") + (f"+{self.adapter}" if self.adapter else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedModel:
    """A model folder. `id` is the name to show; `aliases` are the names followed, if any, outermost first."""

    id: str
    path: Path
    kind: ModelKind
    reference: str
    aliases: tuple[str, ...] = ()


def resolve(
    reference: str, settings: ModelsSettings, *, working_folder: Path | None = None, hub_cache: Path | None = None
) -> ResolvedModel:
    """Find the folder that `reference` names. Relative paths start at `working_folder`, or where the process is.

    `hub_cache` is the Hugging Face cache if not that library's own choice (HF_HOME, HF_HUB_CACHE). Raises ModelNotFound with close
    matches, ModelUnusable for an incomplete download, ConfigurationError for aliases in a circle.
    """
    chain = _follow_aliases(reference, settings)
    wanted = ModelRef.parse(chain[-1])
    if wanted.adapter:
        raise UnsupportedField(f"{reference!r} asks for the adapter {wanted.adapter!r}: adapters cannot be served yet.", param="model")
    found = _find(wanted, settings, working_folder or Path.cwd(), hub_cache)
    if found is None:
        raise ModelNotFound(_explain_absence(chain, wanted, settings, hub_cache), param="model")
    kind, path, shown = found
    return ResolvedModel(id=chain[0] if len(chain) > 1 else shown, path=path, kind=kind, reference=str(wanted), aliases=tuple(chain[:-1]))


def bundled_folder() -> Path:
    """The model that comes with Pomona."""
    return Path(str(files("pomona.models"))) / "bundled" / BUNDLED


def named_folders(settings: ModelsSettings) -> Iterator[Path]:
    """Model folders in `models.folders`: subfolders with a config.json, by name. The first of equal names counts."""
    seen: set[str] = set()
    for folder in settings.folders:
        place = folder.expanduser()
        for child in sorted(place.iterdir()) if place.is_dir() else ():
            if child.name not in seen and (child / "config.json").is_file():
                seen.add(child.name)
                yield child


def _follow_aliases(reference: str, settings: ModelsSettings) -> list[str]:
    chain = [reference]
    while (target := settings.aliases.get(chain[-1])) is not None:
        if target == chain[-1]:  # an alias may cover the model of the same name
            break
        if target in chain:
            raise ConfigurationError(f"The aliases in models.aliases go in a circle: {' -> '.join([*chain, target])}. Remove one of them.")
        chain.append(target)
    return chain


def _find(wanted: ModelRef, settings: ModelsSettings, working_folder: Path, hub_cache: Path | None) -> tuple[ModelKind, Path, str] | None:
    folder = working_folder / Path(wanted.name).expanduser()
    is_path = wanted.name.startswith(("/", ".", "~"))
    if is_path or (wanted.revision is None and "/" in wanted.name and (folder / "config.json").is_file()):
        return ("folder", folder.resolve(), folder.resolve().name) if folder.is_dir() else None
    if wanted.revision is None:
        if wanted.name == BUNDLED:
            return "bundled", bundled_folder(), BUNDLED
        for named in named_folders(settings):
            if named.name == wanted.name:
                return "folder", named, named.name
        if (folder / "config.json").is_file():
            return "folder", folder.resolve(), folder.resolve().name
    if _REPOSITORY.fullmatch(wanted.name):
        snapshot = find_snapshot(wanted.name, wanted.revision, hub_cache)
        return ("hub", snapshot, str(wanted)) if snapshot else None
    return None


def _explain_absence(chain: list[str], wanted: ModelRef, settings: ModelsSettings, hub_cache: Path | None) -> str:
    via = f" (from the alias {chain[0]!r})" if len(chain) > 1 else ""
    if wanted.name.startswith(("/", ".", "~")):
        return f"There is no folder {wanted.name!r}{via}. {_ADVICE}"
    known = [BUNDLED, *settings.aliases, *(path.name for path in named_folders(settings)), *cached_repositories(hub_cache)]
    by_ending = {name.rpartition("/")[2].lower(): name for name in reversed(known)} | {name.lower(): name for name in reversed(known)}
    close = difflib.get_close_matches(wanted.name.lower(), by_ending, n=3, cutoff=0.5)
    names = list(dict.fromkeys(by_ending[match] for match in close if by_ending[match] not in chain))
    hint = f"Did you mean {' or '.join(repr(name) for name in names)}? " if names else ""
    revision = f" at revision {wanted.revision!r}" if wanted.revision else ""
    return f"There is no model {wanted.name!r}{revision}{via}. {hint}{_ADVICE}"
