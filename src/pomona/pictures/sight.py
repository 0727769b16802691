"""Whether the model in a folder takes pictures: asked for each model of each list, so only what is cheap is looked at."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from pomona.pictures.geometry.reading import FAMILIES

REMEMBERED = 512


def takes_pictures(folder: Path) -> bool:
    """From config.json. That the rest of the folder goes with it is seen when the model is loaded."""
    path = folder / "config.json"
    try:
        return _takes_pictures(path, path.stat().st_mtime_ns)
    except OSError:
        return False


@lru_cache(maxsize=REMEMBERED)
def _takes_pictures(path: Path, changed: int) -> bool:
    del changed
    try:
        config = cast("object", json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False
    if not isinstance(config, dict):
        return False
    fields = cast("dict[str, Any]", config)
    return str(fields.get("model_type")) in FAMILIES and isinstance(fields.get("vision_config"), dict)
