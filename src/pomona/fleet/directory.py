"""The names that requests may ask for."""

from collections.abc import Sequence
from contextlib import suppress

from pomona.core.errors import PomonaError
from pomona.core.generation import SamplingParams
from pomona.core.settings import ModelsSettings
from pomona.core.status import EngineReport, ModelCard
from pomona.fleet.supervisor import Supervisor
from pomona.models.references import ResolvedModel, resolve


class ServedModel:
    """The directory and the status of one model in one engine, under one or more names."""

    def __init__(self, model: ResolvedModel, names: Sequence[str], engine: Supervisor, sampling: SamplingParams) -> None:
        self._names = names
        self._engine = engine
        self._sampling = sampling
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

    def status(self) -> tuple[EngineReport, ...]:
        """The report of the one engine."""
        return (self._engine.report(),)


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
