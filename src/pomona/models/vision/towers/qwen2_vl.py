"""The tower of Qwen2-VL and Qwen2.5-VL: pictures of any size, two-dimensional rotary positions, four patches to a feature.

Qwen2.5-VL attends within windows in most layers. A still picture is a film of two equal frames to these towers; the two halves of
the patch weights are added up when they are loaded, so one is enough.
"""

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from pomona.models.vision.towers.blocks import (
    activation,
    attend,
    axis_frequencies,
    cut_patches,
    flat_angles,
    join_heads,
    patch_places,
    rotate,
    split_heads,
    through,
)
from pomona.models.vision.towers.features import PictureFeatures

THETA = 10000.0
Angles = tuple[mx.array, mx.array]


class Windows:
    """Which patches attend to one another: squares of `side` x `side` features, smaller at the right and lower borders."""

    def __init__(self, rows: int, columns: int, side: int, unit: int) -> None:
        """`rows` x `columns` features of `unit` patches each."""
        features = np.pad(np.arange(rows * columns).reshape(rows, columns), ((0, -rows % side), (0, -columns % side)), constant_values=-1)
        squares = features.reshape(-1, side, features.shape[1] // side, side).transpose(0, 2, 1, 3).reshape(-1, side * side)
        patches = (squares[:, :, None] * unit + np.arange(unit)).reshape(len(squares), -1)
        held = np.repeat(squares >= 0, unit, axis=1)
        places = np.zeros(rows * columns * unit, np.int64)
        places[patches[held]] = np.flatnonzero(held)
        self._members = mx.array(np.where(held, patches, 0))  # (windows, patches of one)
        self._mask = None if held.all() else mx.array(held[:, None, None].astype(np.uint8)).astype(mx.bool_)
        self._places = mx.array(places)

    def attend(self, queries: mx.array, keys: mx.array, values: mx.array) -> mx.array:
        """(1, heads, patches, dim) each."""
        parts = [x[0][:, self._members].swapaxes(0, 1) for x in (queries, keys, values)]  # (windows, heads, patches of one, dim)
        mixed = attend(parts[0], parts[1], parts[2], self._mask).swapaxes(0, 1)
        return mixed.reshape(mixed.shape[0], -1, mixed.shape[-1])[None][:, :, self._places]


class Attention(nn.Module):
    """Over all patches, or within windows."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def __call__(self, x: mx.array, angles: Angles, windows: Windows | None) -> mx.array:
        """(patches, width)."""
        queries, keys, values = (split_heads(part, self.heads) for part in mx.split(through(x, self.qkv), 3, axis=-1))
        queries, keys = rotate(queries, *angles), rotate(keys, *angles)
        mixed = windows.attend(queries, keys, values) if windows else attend(queries, keys, values)
        return through(join_heads(mixed), self.proj)


class PlainMLP(nn.Module):
    """Qwen2-VL's."""

    def __init__(self, width: int, inner: int, act: str) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(width, inner), activation(act), nn.Linear(inner, width)

    def __call__(self, x: mx.array) -> mx.array:
        """(patches, width)."""
        return through(x, self.fc1, self.act, self.fc2)


class GatedMLP(nn.Module):
    """Qwen2.5-VL's."""

    def __init__(self, width: int, inner: int, act: str) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = nn.Linear(width, inner), nn.Linear(width, inner), nn.Linear(inner, width)
        self.act = activation(act)

    def __call__(self, x: mx.array) -> mx.array:
        """(patches, width)."""
        return through(through(x, self.gate_proj, self.act) * through(x, self.up_proj), self.down_proj)


class Block(nn.Module):
    """One layer of the tower."""

    def __init__(self, width: int, heads: int, mlp: nn.Module, norm: type[nn.LayerNorm] | type[nn.RMSNorm]) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(width, eps=1e-6), norm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.mlp = mlp

    def __call__(self, x: mx.array, angles: Angles, windows: Windows | None) -> mx.array:
        """(patches, width)."""
        x = x + self.attn(through(x, self.norm1), angles, windows)
        return x + through(x, self.norm2, self.mlp)


class PatchEmbed(nn.Module):
    """Patches to vectors."""

    def __init__(self, patch: int, channels: int, width: int, *, bias: bool) -> None:
        super().__init__()
        self.proj = nn.Linear(channels * patch * patch, width, bias=bias)

    def __call__(self, patches: mx.array) -> mx.array:
        """(patches, numbers of one) -> (patches, width)."""
        return through(patches.astype(self.proj.weight.dtype), self.proj)


class Merger(nn.Module):
    """Squares of neighbouring patches to one feature of the language part's width."""

    def __init__(self, width: int, unit: int, out: int, norm: type[nn.LayerNorm] | type[nn.RMSNorm]) -> None:
        super().__init__()
        self.width = width * unit
        self.ln_q = norm(width, eps=1e-6)
        self.mlp = [nn.Linear(width * unit, width * unit), nn.GELU(), nn.Linear(width * unit, out)]

    def __call__(self, x: mx.array) -> mx.array:
        """(patches, width) -> (features, out)."""
        return through(through(x, self.ln_q).reshape(-1, self.width), *self.mlp)


class Visual(nn.Module):
    """The whole tower, by the names of its weights."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        gated = "window_size" in config
        width, heads, depth = config["hidden_size" if gated else "embed_dim"], config["num_heads"], config["depth"]
        norm = nn.RMSNorm if gated else nn.LayerNorm
        self.patch, self.merge, self.dim = config["patch_size"], config["spatial_merge_size"], width // heads
        self.full = set(config["fullatt_block_indexes"]) if gated else set(range(depth))
        self.window = config["window_size"] // self.merge // self.patch if gated else 0
        inner = config["intermediate_size"] if gated else int(width * config["mlp_ratio"])
        mlp, act = (GatedMLP, "silu") if gated else (PlainMLP, "quick_gelu")
        act = config.get("hidden_act", act)
        self.patch_embed = PatchEmbed(self.patch, config.get("in_channels", config.get("in_chans", 3)), width, bias=False)
        self.blocks = [Block(width, heads, mlp(width, inner, act), norm) for _ in range(depth)]
        self.merger = Merger(width, self.merge**2, config["out_hidden_size" if gated else "hidden_size"], norm)

    def __call__(self, pixels: mx.array) -> mx.array:
        """(height, width, channels) -> (features, width of the language part)."""
        rows, columns = pixels.shape[0] // self.patch, pixels.shape[1] // self.patch
        frequencies = axis_frequencies(self.dim, THETA)
        angles = flat_angles(patch_places(rows, columns, self.merge), frequencies, frequencies)
        windows = Windows(rows // self.merge, columns // self.merge, self.window, self.merge**2) if self.window else None
        x = through(cut_patches(pixels, self.patch, self.merge), self.patch_embed)
        for index, block in enumerate(self.blocks):
            x = block(x, angles, None if index in self.full else windows)
        return through(x, self.merger)


class Qwen2Tower(nn.Module):
    """Weights lie under `visual`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """`config` is that of the whole model."""
        super().__init__()
        defaults = QWEN25_DEFAULTS if config["model_type"] == "qwen2_5_vl" else QWEN2_DEFAULTS
        self.visual = Visual({**defaults, **config["vision_config"]})

    def encode(self, pixels: mx.array) -> PictureFeatures:
        """See `Tower`."""
        return PictureFeatures(embeddings=self.visual(pixels))


QWEN2_DEFAULTS: Mapping[str, Any] = {
    "depth": 32, "embed_dim": 1280, "hidden_size": 3584, "mlp_ratio": 4, "num_heads": 16, "patch_size": 14, "spatial_merge_size": 2,
}  # fmt: skip
QWEN25_DEFAULTS: Mapping[str, Any] = {
    "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "patch_size": 14, "spatial_merge_size": 2,
    "window_size": 112, "out_hidden_size": 3584, "fullatt_block_indexes": (7, 15, 23, 31),
}  # fmt: skip
"""What transformers assumes where a config.json is silent."""
