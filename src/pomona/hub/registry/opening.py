"""Where the registry is kept, from settings. Apart from the rest of the hub, because whoever looks up a name needs it: it must be quick."""

from pathlib import Path

from pomona.core.settings import Settings
from pomona.hub.registry.file import RegistryFile
from pomona.hub.registry.registry import LocalRegistry


def open_registry(settings: Settings, data_folder: Path) -> LocalRegistry:
    """Registered models, aliases and pins. Raises ConfigurationError where their file cannot be read."""
    file = RegistryFile(settings.hub.registry_file or data_folder / "models.json")
    return LocalRegistry(file, settings.models, converted_place(settings, data_folder))


def converted_place(settings: Settings, data_folder: Path) -> Path:
    """The folder of models that were quantised or converted here."""
    return settings.hub.converted_folder or data_folder / "models"
