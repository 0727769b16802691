"""From the name of a model to a folder on this machine.

Order: aliases of the settings, then of the registry; a local folder, the bundled model, subfolders of `models.folders`, registered and
converted models, the local Hugging Face cache. Nothing is downloaded.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Literal, Self

from pomona.core.errors import ConfigurationError, InvalidRequest, ModelNotFound
from pomona.core.settings import ModelsSettings
from pomona.models.adapters.names import PATH_MARKS, find_adapter
from pomona.models.hub_cache import cached_repositories, find_snapshot

BUNDLED = "pomona-tiny"
ModelKind = Literal["bundled", "folder", "hub"]

_REFERENCE = re.compile(r"(?P<name>[^@+]+)(@(?P<revision>[^@+]+))?(\+(?P<adapter>[^@+]+))?")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_ADVICE = (
    "`pomona list` shows every model that is here. Others: the path of a folder with config.json and *.safetensors, "
    "or a Hugging Face repository in the local cache (`pomona pull ORGANISATION/NAME` puts one there)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Names beside those of the settings, as they are now: what was registered, converted, or given an alias while Pomona runs.

    The settings win where both have a name. `folders` are model folders by name, `adapters` adapter folders by the name after the `+`.
    A registered adapter is an alias for MODEL+NAME as well.
    """

    aliases: Mapping[str, str] = field(default_factory=dict[str, str])
    folders: Mapping[str, Path] = field(default_factory=dict[str, Path])
    adapters: Mapping[str, Path] = field(default_factory=dict[str, Path])


NO_NAMES = Names()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """`name@revision+adapter`, the last two optional. A path (from `/`, `.` or `~`) is taken whole, but see `resolve`."""

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
    """A model folder. `id` is the name to show; `aliases` are the names followed, if any, outermost first.

    With an `adapter` (its folder), `id` and `reference` are those of both, and `base` is the model alone.
    """

    id: str
    path: Path
    kind: ModelKind
    reference: str
    aliases: tuple[str, ...] = ()
    adapter: Path | None = None
    base: "ResolvedModel | None" = None


def resolve(
    reference: str,
    settings: ModelsSettings,
    *,
    names: Names = NO_NAMES,
    working_folder: Path | None = None,
    hub_cache: Path | None = None,
) -> ResolvedModel:
    """Find the folder that `reference` names. Relative paths start at `working_folder`, or where the process is.

    `hub_cache` is the Hugging Face cache if not that library's own choice (HF_HOME, HF_HUB_CACHE). Raises ModelNotFound with close
    matches, ModelUnusable for an incomplete download, ConfigurationError for aliases in a circle. Whether the adapter of MODEL+ADAPTER
    can be used is not looked at. A path with a `+` that is no folder is taken for MODEL+ADAPTER.
    """
    chain = _follow_aliases(reference, all_aliases(settings, names))
    working_folder = working_folder or Path.cwd()
    wanted = _split_path(ModelRef.parse(chain[-1]), working_folder)
    if wanted.adapter is not None:
        base = resolve(str(replace(wanted, adapter=None)), settings, names=names, working_folder=working_folder, hub_cache=hub_cache)
        folder = find_adapter(wanted.adapter, settings, names.adapters, working_folder=working_folder, hub_cache=hub_cache)
        return _adapted(base, wanted.adapter, folder, chain)
    folders = _folders(settings, names)
    found = _find(wanted, folders, working_folder, hub_cache)
    if found is None:
        known = known_names(settings, names, hub_cache=hub_cache)
        raise ModelNotFound(_explain_absence(chain, wanted, known), param="model")
    kind, path, shown = found
    return ResolvedModel(id=chain[0] if len(chain) > 1 else shown, path=path, kind=kind, reference=str(wanted), aliases=tuple(chain[:-1]))


def _adapted(base: ResolvedModel, adapter: str, folder: Path, chain: list[str]) -> ResolvedModel:
    """`base` with the adapter in `folder`. Raises InvalidRequest where it has one already, by an alias."""
    if base.adapter is not None:
        raise InvalidRequest(f"{chain[-1]!r} asks for a second adapter: {base.id!r} has one. A request can have one.", param="model")
    shown = f"{base.id}+{folder.name if adapter.startswith(PATH_MARKS) else adapter}"
    return replace(
        base,
        id=chain[0] if len(chain) > 1 else shown,
        reference=f"{base.reference}+{adapter}",
        aliases=tuple(chain[:-1]),
        adapter=folder,
        base=base,
    )


def _split_path(wanted: ModelRef, working_folder: Path) -> ModelRef:
    """A path that is no folder may be one with an adapter behind its last `+`."""
    folder = working_folder / Path(wanted.name).expanduser()
    if not wanted.name.startswith(PATH_MARKS) or "+" not in wanted.name or folder.is_dir():
        return wanted
    name, _, adapter = wanted.name.rpartition("+")
    return ModelRef(name=name, adapter=adapter)


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


def known_names(settings: ModelsSettings, names: Names = NO_NAMES, *, hub_cache: Path | None = None) -> list[str]:
    """Everything that can be named, whether or not it can be loaded. Quick: no folder of a model is looked into."""
    return list(dict.fromkeys([BUNDLED, *all_aliases(settings, names), *_folders(settings, names), *cached_repositories(hub_cache)]))


def all_aliases(settings: ModelsSettings, names: Names = NO_NAMES) -> dict[str, str]:
    """Alias to reference: those of the settings first, and then those of the registry that the settings do not have."""
    return settings.aliases | {alias: target for alias, target in names.aliases.items() if alias not in settings.aliases}


def _folders(settings: ModelsSettings, names: Names) -> dict[str, Path]:
    """Model folders by name: those below `models.folders`, then the registered ones."""
    found = {folder.name: folder for folder in named_folders(settings)}
    return found | {name: folder for name, folder in names.folders.items() if name not in found}


def _follow_aliases(reference: str, aliases: Mapping[str, str]) -> list[str]:
    chain = [reference]
    while (target := aliases.get(chain[-1])) is not None:
        if target == chain[-1]:  # an alias may cover the model of the same name
            break
        if target in chain:
            raise ConfigurationError(f"Aliases (models.aliases) go in a circle: {' -> '.join([*chain, target])}. Remove one of them.")
        chain.append(target)
    return chain


def _find(
    wanted: ModelRef, folders: Mapping[str, Path], working_folder: Path, hub_cache: Path | None
) -> tuple[ModelKind, Path, str] | None:
    folder = working_folder / Path(wanted.name).expanduser()
    is_path = wanted.name.startswith(("/", ".", "~"))
    if is_path or (wanted.revision is None and "/" in wanted.name and (folder / "config.json").is_file()):
        return ("folder", folder.resolve(), folder.resolve().name) if folder.is_dir() else None
    if wanted.revision is None:
        if wanted.name == BUNDLED:
            return "bundled", bundled_folder(), BUNDLED
        if wanted.name in folders:
            return "folder", folders[wanted.name], wanted.name
        if (folder / "config.json").is_file():
            return "folder", folder.resolve(), folder.resolve().name
    if _REPOSITORY.fullmatch(wanted.name):
        snapshot = find_snapshot(wanted.name, wanted.revision, hub_cache)
        return ("hub", snapshot, str(wanted)) if snapshot else None
    return None


def _explain_absence(chain: list[str], wanted: ModelRef, known: list[str]) -> str:
    via = f" (from the alias {chain[0]!r})" if len(chain) > 1 else ""
    if wanted.name.startswith(("/", ".", "~")):
        return f"There is no folder {wanted.name!r}{via}. {_ADVICE}"
    names = close_names(wanted.name, [name for name in known if name not in chain])
    hint = f"Did you mean {' or '.join(repr(name) for name in names)}? " if names else ""
    revision = f" at revision {wanted.revision!r}" if wanted.revision else ""
    return f"There is no model {wanted.name!r}{revision}{via}. {hint}{_ADVICE}"


def close_names(wanted: str, known: list[str]) -> list[str]:
    """Up to three of `known` that are written like `wanted`, with the organisation or without, whatever the case."""
    by_ending = {name.rpartition("/")[2].lower(): name for name in reversed(known)} | {name.lower(): name for name in reversed(known)}
    close = difflib.get_close_matches(wanted.lower(), by_ending, n=3, cutoff=0.5)
    return list(dict.fromkeys(by_ending[match] for match in close))
