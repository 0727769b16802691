"""The names that requests may ask for."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from pomona.core.errors import AdapterUnusable, InvalidRequest, ModelNotFound, PomonaError
from pomona.core.generation import SamplingParams
from pomona.core.settings import ModelsSettings
from pomona.core.status import ModelCard, ModelFacts
from pomona.fleet.sampling_defaults import sampling_defaults
from pomona.fleet.tasks import task_for
from pomona.models.adapters.names import PATH_MARKS, look_into_adapter, named_adapters
from pomona.models.catalog import CatalogEntry, list_models, look_into
from pomona.models.references import NO_NAMES, ModelRef, Names, ResolvedModel, all_aliases, resolve

SHOWN_NAMES = 20
NOWHERE = Path("/dev/null")
"""Where relative paths of requests start: they must not name folders of this machine."""


ReadNames = Callable[[], Names]
"""Names that were registered, as they are now."""


def no_names() -> Names:
    """Nothing was registered."""
    return NO_NAMES


class Directory:
    """Every model that requests may name: those on this machine, or with `models.serve_all` off the default one only.

    `loaded` tells the facts of a folder's model while it is in memory.
    """

    def __init__(
        self, default: ResolvedModel, settings: ModelsSettings, loaded: Callable[[Path], ModelFacts | None], names: ReadNames = no_names
    ) -> None:
        self.default = default.base or default
        """The model alone, where the default is one with an adapter."""
        self._asked = default
        self._settings = settings
        self._read_names = names
        self._own: tuple[Names, list[str]] | None = None
        self._loaded = loaded

    def models(self) -> list[ModelCard]:
        """A card per name, those of the default model first; models that cannot be loaded are left out."""
        cards = {name: self._card(name, self.default) for name in self._own_names()}
        if self._asked.adapter is not None:
            cards = {self._asked.id: self._card(self._asked.id, self._asked), **cards}
        for entry in self.entries():
            if entry.id not in cards and entry.facts is not None and entry.path is not None:
                cards[entry.id] = self._card(entry.id, self._resolve(entry.id))
        return list(cards.values())

    def find(self, name: str) -> ModelCard:
        """The card of `name`, or of the default model where `name` is one that it stands in for. Raises ModelNotFound."""
        try:
            return self._card(name, self._look_up(name))
        except ModelNotFound:
            if any(fnmatchcase(name, pattern) for pattern in self._settings.stands_in_for):
                return self._card(self._asked.id, self._asked)
            raise

    def resolve(self, name: str) -> ResolvedModel:
        """The model that answers to `name`, under the name that it goes by whatever it was called: of MODEL+ADAPTER the model alone.

        Raises ModelNotFound, ModelUnusable.
        """
        return self._canonical(self._look_up(name))

    def adapter_of(self, name: str) -> Path | None:
        """The folder of the adapter with which `name` is answered; None for a model alone. Raises ModelNotFound, AdapterUnusable."""
        folder = self._look_up(name).adapter
        try:
            return None if folder is None else look_into_adapter(folder).path
        except AdapterUnusable as error:
            raise AdapterUnusable(error.message, param="model") from None

    def entries(self) -> list[CatalogEntry]:
        """All that the catalog has, broken models included; adapters of the default model alone where only that is served."""
        found = list_models(self._settings, names=self._read_names())
        return [entry for entry in found if self._settings.serve_all or (entry.base is not None and entry.path == self.default.path)]

    def names_of(self, model: ResolvedModel) -> tuple[str, ...]:
        """What else `model` is called."""
        return tuple(name for name in served_names(model, self._settings, self._read_names()) if name != model.id)

    def _look_up(self, name: str) -> ResolvedModel:
        """What `name` stands for, with its adapter."""
        if name == self._asked.id:
            return self._asked
        if name in self._own_names():
            return self.default
        model, plus, adapter = name.partition("+")
        if self._settings.serve_all or plus or name in all_aliases(self._settings, self._read_names()):
            try:
                found = self._resolve(name)
                if self._settings.serve_all or self._is_own_adapter(found):
                    return found
            except (ModelNotFound, InvalidRequest):
                if plus and self._knows(model) and not adapter.startswith(PATH_MARKS):
                    raise  # says which adapters there are
        raise not_found(name, [card.id for card in self.models()])

    def _is_own_adapter(self, found: ResolvedModel) -> bool:
        """It is an adapter of the default model, and one that has a name here."""
        named = named_adapters(self._settings, self._read_names().adapters).values()
        return found.path == self.default.path and found.adapter in named

    def _knows(self, name: str) -> bool:
        with suppress(PomonaError):
            return self._look_up(name).path.is_dir()
        return False

    def _own_names(self) -> list[str]:
        """Worked out again when something was registered: each request asks for them."""
        registered = self._read_names()
        if self._own is None or self._own[0] != registered:
            self._own = registered, served_names(self.default, self._settings, registered)
        return self._own[1]

    def _resolve(self, name: str) -> ResolvedModel:
        names = self._read_names()
        if name in all_aliases(self._settings, names):
            return resolve(name, self._settings, names=names)
        asked = ModelRef.parse(name)
        if asked.name.startswith(PATH_MARKS) or (asked.adapter or "").startswith(PATH_MARKS):
            raise ModelNotFound(f"{name!r} is a path. Requests name models, not folders.", param="model")
        return resolve(name, self._settings, names=names, working_folder=NOWHERE)

    def _canonical(self, found: ResolvedModel) -> ResolvedModel:
        """However it was called, a model goes by one name, and without its adapter."""
        found = found.base or found
        if found.path == self.default.path:
            return self.default
        if found.aliases and not found.reference.startswith(("/", ".", "~")):
            return replace(found, id=found.reference, aliases=())
        return found

    def _card(self, name: str, model: ResolvedModel) -> ModelCard:
        facts, alone = self._loaded(model.path), self._canonical(model)
        return ModelCard(
            id=name,
            created=_created(model.adapter or model.path),
            owned_by={"bundled": "pomona", "folder": "local", "hub": model.reference.partition("/")[0]}[model.kind],
            max_context=facts.max_context if facts else _context_on_disk(model.path),
            loaded=facts is not None,
            task=task_for(alone, self._settings),
            vision=sees(model.path),
            parent=None if name == alone.id else alone.id,
            sampling_defaults=sampling_defaults(model.path) if self._settings.use_generation_config else SamplingParams(),
        )


def not_found(name: str, available: Sequence[str]) -> ModelNotFound:
    """The error for a name that no model answers to, with the names that there are."""
    shown = ", ".join(repr(each) for each in available[:SHOWN_NAMES]) or "none"
    more = f", and {len(available) - SHOWN_NAMES} more (GET /v1/models)" if len(available) > SHOWN_NAMES else ""
    return ModelNotFound(f"There is no model {name!r} here. Available: {shown}{more}.", param="model")


def served_names(model: ResolvedModel, settings: ModelsSettings, registered: Names = NO_NAMES) -> list[str]:
    """What requests may call `model`, its own name first: no paths of this machine, but every alias that leads there."""
    names = [model.id, *model.aliases]
    if model.kind != "folder" or "/" not in model.reference:
        names.append(model.reference)
    names += [alias for alias in all_aliases(settings, registered) if _leads_to(model, alias, settings, registered)]
    return list(dict.fromkeys(names))


def _leads_to(model: ResolvedModel, alias: str, settings: ModelsSettings, registered: Names) -> bool:
    with suppress(PomonaError):  # an alias for a model that is not here
        found = resolve(alias, settings, names=registered)
        return found.path == model.path and found.adapter is None
    return False


def sees(folder: Path) -> bool:
    """Whether the model in `folder` takes pictures."""
    facts, _ = look_into(folder)
    return facts is not None and facts.vision


def _context_on_disk(folder: Path) -> int | None:
    facts, _ = look_into(folder)
    return None if facts is None else facts.max_context


def _created(folder: Path) -> int:
    try:
        return int(folder.stat().st_mtime)
    except OSError:
        return 0
