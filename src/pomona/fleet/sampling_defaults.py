"""How a model's makers want it sampled: `generation_config.json`, for what a request leaves open."""

import json
from pathlib import Path
from typing import cast

from pomona.core.generation import SamplingParams


def sampling_defaults(folder: Path) -> SamplingParams:
    """The parameters in the folder's generation_config.json; OpenAI's defaults for what is missing or makes no sense there.

    `"do_sample": false` means greedy (temperature 0), as in transformers.
    """
    config = _read(folder / "generation_config.json")
    if config.get("do_sample") is False:
        return SamplingParams(temperature=0.0, repetition_penalty=_number(config, "repetition_penalty", 1.0, least=0.01, most=10.0))
    return SamplingParams(
        temperature=_number(config, "temperature", 1.0, least=0.0, most=10.0),
        top_k=int(_number(config, "top_k", 0, least=0, most=2**31)),
        top_p=_number(config, "top_p", 1.0, least=1e-6, most=1.0),
        min_p=_number(config, "min_p", 0.0, least=0.0, most=1.0),
        repetition_penalty=_number(config, "repetition_penalty", 1.0, least=0.01, most=10.0),
    )


def _read(path: Path) -> dict[str, object]:
    """A broken file was reported when the model was checked; here it counts as absent."""
    try:
        content: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast("dict[str, object]", content) if isinstance(content, dict) else {}


def _number(config: dict[str, object], name: str, default: float, *, least: float, most: float) -> float:
    value = config.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most:
        return float(value)
    return default
