"""Registered models, aliases and pins, as everybody asks for them: always as the file is now."""

import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pomona.core.errors import ConfigurationError, Conflict, InvalidRequest, ModelNotFound, NotFound
from pomona.core.hub import LONGEST_NAME, NAME_PATTERN, RegisteredModel
from pomona.core.settings import ModelsSettings
from pomona.core.telemetry import get_logger
from pomona.hub.registry.file import Document, RegistryFile
from pomona.models.adapters.reading import read_adapter
from pomona.models.references import BUNDLED, Names, all_aliases, close_names, named_folders, resolve
from pomona.models.validation import inspect_folder

log = get_logger(__name__)
_NAME = re.compile(NAME_PATTERN)


class LocalRegistry:
    """`Registry` and `Aliases` of `pomona.core.ports` over one file, and pins. Any thread, any number of processes.

    `converted` is the folder of models that were converted here: each subfolder with a config.json answers to its name.
    """

    def __init__(self, file: RegistryFile, settings: ModelsSettings, converted: Path, *, hub_cache: Path | None = None) -> None:
        self._file = file
        self._settings = settings
        self._converted = converted
        self._hub_cache = hub_cache
        self._guard = threading.Lock()
        self._stamp = file.stamp()
        self._document = file.read()

    def names(self) -> Names:
        """What `models.references.resolve` has to know beside the settings."""
        document = self._now()
        folders = {entry.name: Path(entry.path) for entry in document.models if entry.base is None}
        converted = {folder.name: folder for folder in _subfolders(self._converted)}
        adapters = {entry.name: Path(entry.path) for entry in document.models if entry.base is not None}
        of_adapters = {entry.name: f"{entry.base}+{entry.name}" for entry in document.models if entry.base is not None}
        return Names(aliases={**of_adapters, **document.aliases}, folders={**converted, **folders}, adapters=adapters)

    def entries(self) -> tuple[RegisteredModel, ...]:
        """By name."""
        return tuple(sorted(self._now().models, key=lambda entry: entry.name))

    def register(self, entry: RegisteredModel) -> None:
        """Add `entry`. Raises InvalidRequest for a name that cannot be one, Conflict where it is taken, NotFound without such a folder,
        ModelNotFound without the base model, ModelUnusable and AdapterUnusable for what is broken.
        """
        _check_name(entry.name)
        self._check_free(entry.name)
        path = Path(entry.path).expanduser().absolute()
        if not path.is_dir():
            raise NotFound(f"There is no folder {entry.path!r} on this machine. Give the folder that holds the model's or adapter's files.")
        if entry.base is None:
            inspect_folder(path)
        else:
            resolve(entry.base, self._settings, names=self.names(), hub_cache=self._hub_cache)
            read_adapter(path)

        def add(document: Document) -> Document:
            if any(other.name == entry.name for other in document.models):
                raise _taken(entry.name, "a registered model")
            return replace(document, models=(*document.models, replace(entry, path=str(path))))

        self._change(add)

    def forget(self, name: str) -> None:
        """Take an entry back; its files stay, aliases of it too. Raises ModelNotFound, InvalidRequest for what was never registered."""

        def remove(document: Document) -> Document:
            kept = tuple(entry for entry in document.models if entry.name != name)
            if len(kept) == len(document.models):
                raise self._unregistered(name, [entry.name for entry in document.models])
            return replace(document, models=kept, pins=tuple(pin for pin in document.pins if pin != name))

        self._change(remove)

    def aliases(self) -> dict[str, str]:
        """Alias to reference, those of the settings first."""
        return all_aliases(self._settings, Names(aliases=self._now().aliases))

    def set_alias(self, alias: str, reference: str) -> None:
        """Let `alias` stand for `reference`. Raises ModelNotFound, InvalidRequest for a name that cannot be one, Conflict for a circle, a
        name of the settings, and the name of a model.
        """
        self.check_alias(alias)

        def add(document: Document) -> Document:
            aliases = {**document.aliases, alias: reference}
            names = replace(self.names(), aliases={**self.names().aliases, **aliases})
            try:
                resolve(reference, self._settings, names=names, hub_cache=self._hub_cache)
            except ConfigurationError as error:
                raise Conflict(f"{alias!r} cannot stand for {reference!r}: {error.message}") from None
            return replace(document, aliases=aliases)

        self._change(add)

    def check_alias(self, alias: str) -> None:
        """Whether `alias` may be one, whatever it is to stand for. Raises InvalidRequest and Conflict as `set_alias`."""
        _check_name(alias)
        if alias in self._settings.aliases:
            raise _held_by_settings(alias)
        if alias == BUNDLED or alias in self.names().folders or alias in {folder.name for folder in named_folders(self._settings)}:
            raise _taken(alias, "a model")

    def remove_alias(self, alias: str) -> None:
        """Raises NotFound, and Conflict where the settings hold it."""
        if alias in self._settings.aliases:
            raise _held_by_settings(alias)

        def remove(document: Document) -> Document:
            if alias not in document.aliases:
                close = close_names(alias, list(document.aliases))
                hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
                raise NotFound(f"There is no alias {alias!r}.{hint} `pomona alias` lists them.")
            return replace(document, aliases={name: target for name, target in document.aliases.items() if name != alias})

        self._change(remove)

    def pins(self) -> frozenset[str]:
        """Models that somebody pinned at run time; those of the settings are not among them."""
        return frozenset(self._now().pins)

    def set_pin(self, name: str, pinned: bool) -> None:
        """Remember that `name` stays in memory, or no longer."""

        def change(document: Document) -> Document:
            others = {pin for pin in document.pins if pin != name}
            return replace(document, pins=tuple(sorted(others | {name} if pinned else others)))

        self._change(change)

    def _change(self, change: Callable[[Document], Document]) -> None:
        self._file.change(change)
        self._look(force=True)

    def _now(self) -> Document:
        if self._file.stamp() != self._stamp:
            self._look()
        return self._document

    def _look(self, *, force: bool = False) -> None:
        """Read the file again. One that cannot be read any more leaves all as it was: a slip of an editor must not take models away."""
        with self._guard:
            stamp = self._file.stamp()
            if stamp == self._stamp and not force:
                return
            try:
                self._document = self._file.read()
            except ConfigurationError as error:
                log.error("registry_unreadable", problem=error.message)
            self._stamp = stamp

    def _check_free(self, name: str) -> None:
        if name == BUNDLED:
            raise _taken(name, "the model that comes with Pomona")
        if name in self.aliases():
            raise _taken(name, "an alias")
        if name in {folder.name for folder in named_folders(self._settings)}:
            raise _taken(name, "a folder of models.folders")
        if any(entry.name == name for entry in self._now().models):
            raise _taken(name, "a registered model")

    def _unregistered(self, name: str, known: list[str]) -> InvalidRequest | ModelNotFound:
        if name == BUNDLED or name in {folder.name for folder in named_folders(self._settings)}:
            return InvalidRequest(f"{name!r} was not registered: it is built in or lies in models.folders, so it cannot be taken back.")
        close = close_names(name, known)
        hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        return ModelNotFound(f"No model is registered as {name!r}.{hint}", param="name")


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise InvalidRequest(
            f"{name!r} cannot be the name of a model: take letters, digits and . _ : - (and / between words), at most {LONGEST_NAME} "
            "characters, beginning with a letter or digit.",
            param="name",
        )


def _taken(name: str, by: str) -> Conflict:
    return Conflict(f"The name {name!r} is taken by {by}. Take another.")


def _held_by_settings(alias: str) -> Conflict:
    return Conflict(f"The alias {alias!r} is in the settings (models.aliases), so it can only be changed there.")


def _subfolders(place: Path) -> list[Path]:
    found = sorted(place.iterdir()) if place.is_dir() else []
    return [child for child in found if not child.name.startswith(".") and (child / "config.json").is_file()]
