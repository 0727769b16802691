"""From a model folder to the part of it that sees, beside the language part that mlx-lm loaded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn

from pomona.models.vision.hooks import AxisPositions, LayerAdditions, teach_additions, teach_positions
from pomona.models.vision.language import decoder_layers, embedding_of
from pomona.models.vision.names import vision_config
from pomona.models.vision.towers.features import Tower
from pomona.models.vision.towers.gemma3 import Gemma3Tower
from pomona.models.vision.towers.llava import LlavaTower
from pomona.models.vision.towers.qwen2_vl import Qwen2Tower
from pomona.models.vision.towers.qwen3_vl import Qwen3Tower
from pomona.models.vision.weights import load_weights

Json = Mapping[str, Any]
TOWERS: Mapping[str, Callable[[Json], Tower]] = {
    "qwen2_vl": Qwen2Tower,
    "qwen2_5_vl": Qwen2Tower,
    "qwen3_vl": Qwen3Tower,
    "qwen3_vl_moe": Qwen3Tower,
    "gemma3": Gemma3Tower,
    "llava": LlavaTower,
    "mistral3": LlavaTower,
    "pixtral": LlavaTower,
}
"""By `model_type`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VisionPart:
    """A tower, and how the language part takes what it makes."""

    tower: Tower
    embed: Callable[[mx.array], mx.array]
    """(rows, tokens) ids -> (rows, tokens, width): what the language part takes as `input_embeddings`."""
    positions: AxisPositions | None = None
    """Where pictures have positions of three axes."""
    additions: LayerAdditions | None = None
    """Where features are added between layers."""
    both_ways: bool = False
    """The tokens of a picture attend to one another, whichever comes first."""
    scale: float = 1.0
    """The language part multiplies its embeddings by this; features must not be, so they are divided by it."""

    @property
    def module(self) -> nn.Module:
        """The tower as a module with weights."""
        return cast("nn.Module", self.tower)


def load_vision(folder: Path, config: Json, module: nn.Module) -> VisionPart:
    """The vision part of a folder that has one (`names.has_vision`), its weights still on disk; `module` is the language part.

    It is taught what pictures need. Raises ModelUnusable for tensors, and KeyError, TypeError or ValueError for a config, that do not fit.
    """
    kind = str(config["model_type"])
    tower = TOWERS[kind](config)
    load_weights(cast("nn.Module", tower), folder, config)
    embed = embedding_of(module)
    if kind.startswith("qwen"):
        return VisionPart(tower=tower, embed=embed, positions=_positions(config, module), additions=_additions(config, module))
    if kind == "gemma3":
        return VisionPart(tower=tower, embed=embed, both_ways=True, scale=_embedding_scale(module))
    return VisionPart(tower=tower, embed=embed)


def _embedding_scale(module: nn.Module) -> float:
    """As mlx-lm's Gemma has it: the root of the width, rounded to bfloat16."""
    width = cast("int", cast("Any", module).language_model.args.hidden_size)
    return cast("float", mx.array(width**0.5, mx.bfloat16).item())


def _positions(config: Json, module: nn.Module) -> AxisPositions:
    text = cast("Json", config.get("text_config") or config)
    rope = cast("Json", text.get("rope_parameters") or text.get("rope_scaling") or {})
    sections = cast("list[int]", rope.get("mrope_section") or [16, 24, 24])
    return teach_positions(decoder_layers(module), sections, interleaved=str(config["model_type"]).startswith("qwen3"))


def _additions(config: Json, module: nn.Module) -> LayerAdditions | None:
    count = len(cast("list[int]", vision_config(config).get("deepstack_visual_indexes") or []))
    return teach_additions(decoder_layers(module), count) if count else None
