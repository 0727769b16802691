"""The vision part of Gemma 3: SigLIP, its patches averaged in squares, a norm and a product."""

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from pomona.models.vision.towers.features import PictureFeatures
from pomona.models.vision.towers.siglip import VisionEncoder, with_defaults


class SoftNorm(nn.Module):
    """RMS norm whose weights are kept less one."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = mx.zeros((width,))

    def __call__(self, x: mx.array) -> mx.array:
        """(features, width)."""
        return mx.fast.rms_norm(x, 1.0 + self.weight, self.eps)


class Projector(nn.Module):
    """From the encoder's width to that of the language part."""

    def __init__(self, width: int, out: int, side: int, eps: float) -> None:
        super().__init__()
        self.side = side
        self.mm_input_projection_weight = mx.zeros((width, out))
        self.mm_soft_emb_norm = SoftNorm(width, eps)

    def __call__(self, x: mx.array) -> mx.array:
        """(patches, width) -> (side * side, out)."""
        step = round(x.shape[0] ** 0.5) // self.side
        squares = x.reshape(self.side, step, self.side, step, -1).mean(axis=(1, 3)).reshape(self.side**2, -1)
        return self.mm_soft_emb_norm(squares) @ self.mm_input_projection_weight


class Gemma3Tower(nn.Module):
    """Weights lie under `vision_tower` and `multi_modal_projector`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """`config` is that of the whole model."""
        super().__init__()
        vision = with_defaults({"model_type": "siglip_vision_model", **config["vision_config"]})
        side = round((config.get("mm_tokens_per_image") or 256) ** 0.5)
        out = config["text_config"].get("hidden_size", 2304)
        self.vision_tower = VisionEncoder(vision, final=True)
        self.multi_modal_projector = Projector(vision["hidden_size"], out, side, vision["layer_norm_eps"])

    def encode(self, pixels: mx.array) -> PictureFeatures:
        """See `Tower`."""
        return PictureFeatures(embeddings=self.multi_modal_projector(self.vision_tower.states(pixels)[-1]))
