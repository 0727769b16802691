"""adapter_config.json, which both layouts have, and values out of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from pomona.models.adapters.facts import refuse

CONFIG = "adapter_config.json"
Json = Mapping[str, object]


def read_configuration(folder: Path) -> Json:
    """The object in adapter_config.json. Raises AdapterUnusable."""
    path = folder / CONFIG
    try:
        value = cast("object", json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        refuse(folder, f"has no {CONFIG}, so its scale is not known. Give the folder into which the adapter was saved.")
    except (OSError, ValueError) as error:
        refuse(path, f"cannot be read as JSON: {error}. Save the adapter again.")
    if not isinstance(value, dict):
        refuse(path, f"must hold a JSON object, and holds a {type(value).__name__}. Save the adapter again.")
    return cast("Json", value)


def number(path: Path, source: Json, key: str, default: float | None = None) -> float:
    """A finite number. Raises AdapterUnusable."""
    value = source.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        refuse(path, f"must give {key} as a number; it says {value!r}.")
    return float(value)


def integer(path: Path, source: Json, key: str, default: int | None = None) -> int:
    """A positive whole number. Raises AdapterUnusable."""
    value = number(path, source, key, default)
    if value != int(value) or value < 1:
        refuse(path, f"must give {key} as a whole number above 0; it says {source.get(key)!r}.")
    return int(value)


def mapping(source: Json, key: str) -> Json:
    """An object, empty where there is none."""
    value = source.get(key)
    return cast("Json", value) if isinstance(value, dict) else {}


def text(source: Json, key: str) -> str | None:
    """A text that is not empty."""
    value = source.get(key)
    return value if isinstance(value, str) and value else None
