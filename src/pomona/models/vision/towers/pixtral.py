"""The tower of Pixtral and Mistral 3: pictures of any size, two-dimensional rotary positions; Mistral 3 merges patches on the way out."""

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn

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
)  # fmt: skip

Angles = tuple[mx.array, mx.array]
DEFAULTS: Mapping[str, Any] = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 16,
    "hidden_act": "gelu", "rope_theta": 10000.0,
}  # fmt: skip
"""What transformers assumes where a config.json is silent."""


class Attention(nn.Module):
    """Over all patches."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(width, width, bias=False) for _ in range(4))

    def __call__(self, x: mx.array, angles: Angles) -> mx.array:
        """(patches, width)."""
        queries, keys, values = (split_heads(through(x, each), self.heads) for each in (self.q_proj, self.k_proj, self.v_proj))
        return through(join_heads(attend(rotate(queries, *angles), rotate(keys, *angles), values)), self.o_proj)


class MLP(nn.Module):
    """Gated."""

    def __init__(self, width: int, inner: int, act: str) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(width, inner, bias=False), nn.Linear(width, inner, bias=False)
        self.down_proj, self.act = nn.Linear(inner, width, bias=False), activation(act)

    def __call__(self, x: mx.array) -> mx.array:
        """(patches, width)."""
        return through(through(x, self.gate_proj, self.act) * through(x, self.up_proj), self.down_proj)


class Layer(nn.Module):
    """One layer of the tower."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width = config["hidden_size"]
        self.attention_norm, self.ffn_norm = nn.RMSNorm(width, eps=1e-5), nn.RMSNorm(width, eps=1e-5)
        self.attention = Attention(width, config["num_attention_heads"])
        self.feed_forward = MLP(width, config["intermediate_size"], config["hidden_act"])

    def __call__(self, x: mx.array, angles: Angles) -> mx.array:
        """(patches, width)."""
        x = x + self.attention(through(x, self.attention_norm), angles)
        return x + through(x, self.ffn_norm, self.feed_forward)


class Transformer(nn.Module):
    """Layers under the name `layers`."""

    def __init__(self, config: Mapping[str, Any], depth: int) -> None:
        super().__init__()
        self.layers = [Layer(config) for _ in range(depth)]


class PixtralEncoder(nn.Module):
    """`depth` layers of the tower."""

    def __init__(self, config: Mapping[str, Any], *, depth: int) -> None:
        """`config` is `vision_config` with `DEFAULTS` filled in."""
        super().__init__()
        self.patch, width = config["patch_size"], config["hidden_size"]
        self.dim = config.get("head_dim") or width // config["num_attention_heads"]
        rope: Mapping[str, float] = config.get("rope_parameters") or {}
        self.theta = float(rope.get("rope_theta") or config["rope_theta"])
        self.patch_conv = nn.Linear(config.get("num_channels", 3) * self.patch**2, width, bias=False)
        self.ln_pre = nn.RMSNorm(width, eps=1e-5)
        self.transformer = Transformer(config, depth)

    def states(self, pixels: mx.array) -> list[mx.array]:
        """(patches, width) before the first layer and behind each."""
        rows, columns = pixels.shape[0] // self.patch, pixels.shape[1] // self.patch
        down, across = axis_frequencies(self.dim, self.theta), axis_frequencies(self.dim, self.theta, shift=1)
        angles = flat_angles(patch_places(rows, columns), down, across)
        states = [through(cut_patches(pixels, self.patch).astype(self.patch_conv.weight.dtype), self.patch_conv, self.ln_pre)]
        for layer in self.transformer.layers:
            states.append(layer(states[-1], angles))
        return states


class PatchMerger(nn.Module):
    """Squares of `merge` x `merge` patches to one."""

    def __init__(self, width: int, merge: int) -> None:
        super().__init__()
        self.merge = merge
        self.merging_layer = nn.Linear(width * merge**2, width, bias=False)

    def __call__(self, x: mx.array, columns: int) -> mx.array:
        """(patches, width) by rows of `columns` patches -> (features, width)."""
        squares = x.reshape(-1, self.merge, columns // self.merge, self.merge, x.shape[-1]).transpose(0, 2, 4, 1, 3)
        return through(squares.reshape(-1, self.merging_layer.weight.shape[-1]), self.merging_layer)
