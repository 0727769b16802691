"""All of the hub put together from settings."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pomona.core.settings import Settings
from pomona.hub.client import LocalHub
from pomona.hub.converting import COMMAND
from pomona.hub.deleting import Remover
from pomona.hub.fitting import this_machine
from pomona.hub.pulling import Puller
from pomona.hub.pulls import BackgroundPulls
from pomona.hub.registry.opening import converted_place, open_registry
from pomona.hub.registry.registry import LocalRegistry
from pomona.hub.registry.scanning import FolderScanner
from pomona.hub.remote.connection import HubConnection


@dataclass(frozen=True, slots=True, kw_only=True)
class HubParts:
    """`pulls` has to be closed. `registry` is `Registry` and `Aliases`, and keeps the pins."""

    hub: LocalHub
    puller: Puller
    pulls: BackgroundPulls
    registry: LocalRegistry
    scanner: FolderScanner


def assemble(
    settings: Settings, data_folder: Path, *, loaded: Callable[[], Iterable[Path]] = tuple, converter: Sequence[str] = COMMAND
) -> HubParts:
    """`data_folder` is where the registry and converted models go unless the settings say otherwise; `loaded` tells the folders of models
    that are in memory. Asks nobody yet. Raises ConfigurationError for a registry that cannot be read.
    """
    converted = converted_place(settings, data_folder)
    registry = open_registry(settings, data_folder)
    connection = HubConnection(settings.hub)
    puller = Puller(connection=connection, registry=registry, machine=this_machine(settings), converted=converted, converter=converter)
    pulls = BackgroundPulls(puller)
    remover = Remover(registry=registry, settings=settings.models, converted=converted, loaded=loaded, pulling=pulls.is_pulling)
    return HubParts(
        hub=LocalHub(connection=connection, planner=puller.planner, remover=remover),
        puller=puller,
        pulls=pulls,
        registry=registry,
        scanner=FolderScanner(registry=registry, roots=(*settings.models.folders, *settings.models.adapter_folders)),
    )
