"""Which folders have a vision part that is known here, and how its tensors are called. Without MLX, for the gateway too."""

from collections.abc import Mapping
from typing import Any, cast

FAMILIES = frozenset({"qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "gemma3", "llava", "mistral3", "pixtral"})
"""Values of `model_type`."""
PREFIXES = ("visual.", "vision_tower.", "vision_model.", "multi_modal_projector.")
"""Of the tensors of vision parts, after a leading `model.`, `vlm.` or `model.vision.`."""
RENAMED = {"vision_tower.vision_model.": "vision_tower.", "vision_model.": "vision_tower."}


def has_vision(config: Mapping[str, object], tensors: Mapping[str, object]) -> bool:
    """Whether the folder has the weights of a vision part that can be used. Conversions to text-only models leave them out."""
    return is_vision_config(config) and any(tower_name(name, config) for name in tensors)


def is_vision_config(config: Mapping[str, object]) -> bool:
    """Whether config.json describes one."""
    return config.get("model_type") in FAMILIES and isinstance(config.get("vision_config"), dict)


def tower_name(name: str, config: Mapping[str, object]) -> str | None:
    """What a tensor of the folder is called in our towers; None for tensors of the language part."""
    plain = name.removeprefix("model.")
    if not plain.startswith(PREFIXES):
        return None
    if str(config["model_type"]).startswith("qwen"):
        return "visual." + plain.removeprefix("visual.").removeprefix("vision_tower.")
    for given, ours in RENAMED.items():
        if plain.startswith(given):
            return ours + plain.removeprefix(given)
    return plain


def vision_config(config: Mapping[str, object]) -> Mapping[str, Any]:
    """The part of config.json that describes the tower."""
    return cast("Mapping[str, Any]", config["vision_config"])
