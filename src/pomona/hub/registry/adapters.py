"""Folders of LoRA adapters, as far as the registry has to know them: mlx-lm's layout and PEFT's."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import msgspec

from pomona.core.errors import AdapterUnusable
from pomona.models.weights import read_header

CONFIG = "adapter_config.json"
WEIGHTS = ("adapters.safetensors", "adapter_model.safetensors")


def is_adapter(folder: Path) -> bool:
    """Whether `folder` means to be an adapter."""
    return (folder / CONFIG).is_file()


def check_adapter(folder: Path) -> Mapping[str, object]:
    """The configuration of an adapter whose files are there and whole. Raises AdapterUnusable naming the file."""
    path = folder / CONFIG
    try:
        config = cast("object", msgspec.json.decode(path.read_bytes()))
    except (OSError, msgspec.DecodeError) as error:
        raise AdapterUnusable(f"The file {str(path)!r} cannot be read as JSON: {error}. An adapter folder needs it.") from None
    if not isinstance(config, dict):
        raise AdapterUnusable(f"The file {str(path)!r} must hold a JSON object, and holds a {type(config).__name__}.")
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise AdapterUnusable(f"The adapter folder {str(folder)!r} has no weights: neither {' nor '.join(WEIGHTS)} is there.")
    read_header(weights)
    return cast("Mapping[str, object]", config)


def base_of(config: Mapping[str, object]) -> str | None:
    """The model that an adapter's configuration says it was made for."""
    named = (config.get(key) for key in ("base_model_name_or_path", "base_model", "model"))
    return next((name for name in named if isinstance(name, str) and name), None)
