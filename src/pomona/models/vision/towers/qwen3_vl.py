"""The tower of Qwen3-VL: as Qwen2-VL's, with learned positions stretched to the picture, and features of middle layers ("deepstack")."""

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from pomona.models.vision.towers.blocks import activation, axis_frequencies, cut_patches, flat_angles, patch_places, through
from pomona.models.vision.towers.features import PictureFeatures
from pomona.models.vision.towers.qwen2_vl import THETA, Block, PatchEmbed

DEFAULTS: Mapping[str, Any] = {
    "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16, "patch_size": 16, "spatial_merge_size": 2,
    "out_hidden_size": 3584, "num_position_embeddings": 2304, "deepstack_visual_indexes": (8, 16, 24), "hidden_act": "gelu_pytorch_tanh",
}  # fmt: skip
"""What transformers assumes where a config.json is silent."""


class MLP(nn.Module):
    """Two layers."""

    def __init__(self, width: int, inner: int, act: str) -> None:
        super().__init__()
        self.linear_fc1, self.act, self.linear_fc2 = nn.Linear(width, inner), activation(act), nn.Linear(inner, width)

    def __call__(self, x: mx.array) -> mx.array:
        """(patches, width)."""
        return through(x, self.linear_fc1, self.act, self.linear_fc2)


class Merger(nn.Module):
    """Squares of patches to one feature; the norm stands before or, for features of middle layers, behind the joining."""

    def __init__(self, width: int, unit: int, out: int, *, norm_joined: bool) -> None:
        super().__init__()
        self.width = width * unit
        self.norm_joined = norm_joined
        self.norm = nn.LayerNorm(self.width if norm_joined else width, eps=1e-6)
        self.linear_fc1, self.act, self.linear_fc2 = nn.Linear(self.width, self.width), nn.GELU(), nn.Linear(self.width, out)

    def __call__(self, x: mx.array) -> mx.array:
        """(patches, width) -> (features, out)."""
        joined = through(x.reshape(-1, self.width), self.norm) if self.norm_joined else through(x, self.norm).reshape(-1, self.width)
        return through(joined, self.linear_fc1, self.act, self.linear_fc2)


class Visual(nn.Module):
    """The whole tower, by the names of its weights."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, heads, inner, act = config["hidden_size"], config["num_heads"], config["intermediate_size"], config["hidden_act"]
        self.patch, self.merge, self.dim = config["patch_size"], config["spatial_merge_size"], width // heads
        self.taps = list(config["deepstack_visual_indexes"])
        self.side = round(config["num_position_embeddings"] ** 0.5)
        self.patch_embed = PatchEmbed(self.patch, config.get("in_channels", 3), width, bias=True)
        self.pos_embed = nn.Embedding(config["num_position_embeddings"], width)
        self.blocks = [Block(width, heads, MLP(width, inner, act), nn.LayerNorm) for _ in range(config["depth"])]
        unit, out = self.merge**2, config["out_hidden_size"]
        self.merger = Merger(width, unit, out, norm_joined=False)
        self.deepstack_merger_list = [Merger(width, unit, out, norm_joined=True) for _ in self.taps]

    def __call__(self, pixels: mx.array) -> tuple[mx.array, tuple[mx.array, ...]]:
        """(height, width, channels) -> (features, width of the language part), and the same of the middle layers."""
        rows, columns = pixels.shape[0] // self.patch, pixels.shape[1] // self.patch
        places = patch_places(rows, columns, self.merge)
        frequencies = axis_frequencies(self.dim, THETA)
        angles = flat_angles(places, frequencies, frequencies)
        x = through(cut_patches(pixels, self.patch, self.merge), self.patch_embed)
        x = x + self._positions(places, rows, columns).astype(x.dtype)
        deep: dict[int, mx.array] = {}
        for index, block in enumerate(self.blocks):
            x = block(x, angles, None)
            if index in self.taps:
                level = self.taps.index(index)
                deep[level] = through(x, self.deepstack_merger_list[level])
        return through(x, self.merger), tuple(deep[level] for level in sorted(deep))

    def _positions(self, places: np.ndarray, rows: int, columns: int) -> mx.array:
        """(patches, width): the learned square of positions, stretched so that its corners are the picture's, between four of them each."""
        spots = places.astype(np.float32) * (self.side - 1) / np.maximum(np.array([rows, columns], np.float32) - 1, 1)
        low = np.floor(spots).astype(np.int64)
        part = spots - low
        high = np.minimum(low + 1, self.side - 1)
        total = mx.zeros(())
        for down, down_weight in ((low[:, 0], 1 - part[:, 0]), (high[:, 0], part[:, 0])):
            for across, across_weight in ((low[:, 1], 1 - part[:, 1]), (high[:, 1], part[:, 1])):
                weight = mx.array((down_weight * across_weight).astype(np.float32))[:, None]
                total = total + self.pos_embed(mx.array(down * self.side + across)) * weight
        return total


class Qwen3Tower(nn.Module):
    """Weights lie under `visual`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """`config` is that of the whole model."""
        super().__init__()
        self.visual = Visual({**DEFAULTS, **config["vision_config"]})

    def encode(self, pixels: mx.array) -> PictureFeatures:
        """See `Tower`."""
        embeddings, deep = self.visual(pixels)
        return PictureFeatures(embeddings=embeddings, deep=deep)
