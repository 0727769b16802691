"""Models in the manner of LLaVA: features of some layer of an encoder (CLIP, SigLIP or Pixtral's), and two layers to project them."""

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from pomona.models.vision.towers import pixtral
from pomona.models.vision.towers.blocks import activation, through
from pomona.models.vision.towers.features import PictureFeatures
from pomona.models.vision.towers.pixtral import PatchMerger, PixtralEncoder
from pomona.models.vision.towers.siglip import VisionEncoder, with_defaults


class Projector(nn.Module):
    """With `merge` above 1 as Mistral 3: a norm and a merger of patches in front."""

    def __init__(self, config: Mapping[str, Any], width: int, levels: int, merge: int) -> None:
        super().__init__()
        out, biased = config["text_config"].get("hidden_size", 4096), config.get("multimodal_projector_bias", merge == 1)
        if merge > 1:
            self.norm = nn.RMSNorm(width, eps=config["text_config"].get("rms_norm_eps", 1e-6))
            self.patch_merger = PatchMerger(width, merge)
        self.linear_1 = nn.Linear(width * levels, out, bias=biased)
        self.act = activation(config.get("projector_hidden_act", "gelu"))
        self.linear_2 = nn.Linear(out, out, bias=biased)

    def __call__(self, x: mx.array, columns: int) -> mx.array:
        """(patches, width) -> (features, width of the language part)."""
        if "patch_merger" in self:
            x = self.patch_merger(through(x, self.norm), columns)
        return through(x, self.linear_1, self.act, self.linear_2)


class LlavaTower(nn.Module):
    """Weights lie under `vision_tower` and `multi_modal_projector`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """`config` is that of the whole model."""
        super().__init__()
        patchy = config["vision_config"].get("model_type") == "pixtral"
        vision = {**pixtral.DEFAULTS, **config["vision_config"]} if patchy else with_defaults(config["vision_config"])
        chosen = config.get("vision_feature_layer", -1 if patchy else -2)
        levels = [chosen] if isinstance(chosen, int) else list(chosen)
        self.levels = [level if level >= 0 else vision["num_hidden_layers"] + 1 + level for level in levels]
        self.classless = not patchy and config.get("vision_feature_select_strategy", "default") == "default"
        self.patch = vision["patch_size"]
        encoder = PixtralEncoder if patchy else VisionEncoder
        self.vision_tower = encoder(vision, depth=max(self.levels))
        merge = int(config.get("spatial_merge_size") or 1)
        self.multi_modal_projector = Projector(config, vision["hidden_size"], len(levels), merge)

    def encode(self, pixels: mx.array) -> PictureFeatures:
        """See `Tower`."""
        states = self.vision_tower.states(pixels)
        chosen = [states[level][1:] if self.classless else states[level] for level in self.levels]
        x = chosen[0] if len(chosen) == 1 else mx.concatenate(chosen, axis=-1)
        return PictureFeatures(embeddings=self.multi_modal_projector(x, pixels.shape[1] // self.patch))
