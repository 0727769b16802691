"""The names that requests may ask for."""

from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase

from pomona.core.errors import ModelNotFound, PomonaError
from pomona.core.generation import SamplingParams
from pomona.core.settings import ModelsSettings
from pomona.core.status import EngineReport, ModelCard
from pomona.fleet.supervisor import Supervisor
from pomona.models.references import ResolvedModel, resolve

SHOWN_NAMES = 20


class ServedModel:
    """The directory and the status of one model in one engine, under one or more names."""

    def __init__(
        self, model: ResolvedModel, names: Sequence[str], engine: Supervisor, sampling: SamplingParams, stands_in_for: Sequence[str] = ()
    ) -> None:
        self._names = names
        self._engine = engine
        self._sampling = sampling
        self._stands_in_for = stands_in_for
        self._owner = {"bundled": "pomona", "folder": "local", "hub": model.reference.partition("/")[0]}[model.kind]
        self._created = int(model.path.stat().st_mtime)

    def models(self) -> list[ModelCard]:
        """A card per name."""
        report = self._engine.report()
        context = None if report.facts is None else report.facts.max_context
        loaded = report.state == "ready"
        return [
            ModelCard(
                id=name, created=self._created, owned_by=self._owner, max_context=context, loaded=loaded, sampling_defaults=self._sampling
            )
            for name in self._names
        ]

    def find(self, name: str) -> ModelCard:
        """The card of `name`, or of the model itself where `name` is one that it stands in for. Raises ModelNotFound."""
        cards = self.models()
        found = next((card for card in cards if card.id == name), None)
        if found is None and any(fnmatchcase(name, pattern) for pattern in self._stands_in_for):
            found = cards[0]
        if found is None:
            raise not_found(name, [card.id for card in cards])
        return found

    def status(self) -> tuple[EngineReport, ...]:
        """The report of the one engine."""
        return (self._engine.report(),)


def not_found(name: str, available: Sequence[str]) -> ModelNotFound:
    """The error for a name that no model answers to, with the names that there are."""
    shown = ", ".join(repr(each) for each in available[:SHOWN_NAMES]) or "none"
    more = f", and {len(available) - SHOWN_NAMES} more (GET /v1/models)" if len(available) > SHOWN_NAMES else ""
    return ModelNotFound(f"There is no model {name!r} here. Available: {shown}{more}.", param="model")


def served_names(model: ResolvedModel, settings: ModelsSettings) -> list[str]:
    """What requests may call `model`, its own name first: no paths of this machine, but every alias that leads there."""
    names = [model.id, *model.aliases]
    if model.kind != "folder" or "/" not in model.reference:
        names.append(model.reference)
    names += [alias for alias in settings.aliases if _leads_to(model, alias, settings)]
    return list(dict.fromkeys(names))


def _leads_to(model: ResolvedModel, alias: str, settings: ModelsSettings) -> bool:
    with suppress(PomonaError):  # an alias for a model that is not here
        return resolve(alias, settings).path == model.path
    return False
