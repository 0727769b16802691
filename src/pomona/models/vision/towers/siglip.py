"""The encoders of CLIP and SigLIP: pictures of one size, learned positions, plain attention. CLIP has a class token and a norm in front."""

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from pomona.models.vision.towers.blocks import activation, attend, cut_patches, join_heads, split_heads, through

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "clip_vision_model": {
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "image_size": 224,
        "patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
    },
    "siglip_vision_model": {
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "image_size": 224,
        "patch_size": 16, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6,
    },
}  # fmt: skip
"""What transformers assumes where a config.json is silent."""


class Attention(nn.Module):
    """Over all patches."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def __call__(self, x: mx.array) -> mx.array:
        """(patches, width)."""
        queries, keys, values = (split_heads(through(x, each), self.heads) for each in (self.q_proj, self.k_proj, self.v_proj))
        return through(join_heads(attend(queries, keys, values)), self.out_proj)


class MLP(nn.Module):
    """Two layers."""

    def __init__(self, width: int, inner: int, act: str) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(width, inner), activation(act), nn.Linear(inner, width)

    def __call__(self, x: mx.array) -> mx.array:
        """(patches, width)."""
        return through(x, self.fc1, self.act, self.fc2)


class Layer(nn.Module):
    """One layer of the encoder."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, eps = config["hidden_size"], config["layer_norm_eps"]
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.self_attn = Attention(width, config["num_attention_heads"])
        self.mlp = MLP(width, config["intermediate_size"], config["hidden_act"])

    def __call__(self, x: mx.array) -> mx.array:
        """(patches, width)."""
        x = x + through(x, self.layer_norm1, self.self_attn)
        return x + through(x, self.layer_norm2, self.mlp)


class Embeddings(nn.Module):
    """Patches to vectors, with their positions."""

    def __init__(self, config: Mapping[str, Any], *, classed: bool) -> None:
        super().__init__()
        width, patch = config["hidden_size"], config["patch_size"]
        self.patch = patch
        self.patch_embedding = nn.Linear(config.get("num_channels", 3) * patch * patch, width, bias=not classed)
        self.position_embedding = nn.Embedding((config["image_size"] // patch) ** 2 + classed, width)
        if classed:
            self.class_embedding = mx.zeros((width,))

    def __call__(self, pixels: mx.array) -> mx.array:
        """(height, width, channels) -> (patches, width), the class token first."""
        x = through(cut_patches(pixels, self.patch).astype(self.patch_embedding.weight.dtype), self.patch_embedding)
        if "class_embedding" in self:
            x = mx.concatenate([self.class_embedding[None].astype(x.dtype), x])
        return x + self.position_embedding(mx.arange(x.shape[0]))


class Encoder(nn.Module):
    """Layers under the name `layers`."""

    def __init__(self, config: Mapping[str, Any], depth: int) -> None:
        super().__init__()
        self.layers = [Layer(config) for _ in range(depth)]


class VisionEncoder(nn.Module):
    """`depth` layers, or all; `final` has the last norm behind all of them."""

    def __init__(self, config: Mapping[str, Any], *, depth: int | None = None, final: bool = False) -> None:
        """`config` is `vision_config` with `DEFAULTS` filled in."""
        super().__init__()
        classed, width, eps = str(config["model_type"]).startswith("clip"), config["hidden_size"], config["layer_norm_eps"]
        self.embeddings = Embeddings(config, classed=classed)
        if classed:
            self.pre_layrnorm = nn.LayerNorm(width, eps=eps)
        self.encoder = Encoder(config, config["num_hidden_layers"] if depth is None else depth)
        if final:
            self.post_layernorm = nn.LayerNorm(width, eps=eps)

    def states(self, pixels: mx.array) -> list[mx.array]:
        """(patches, width) before the first layer and behind each, the last one after the last norm where there is one."""
        x = self.embeddings(pixels)
        states = [through(x, self.pre_layrnorm) if "pre_layrnorm" in self else x]
        for layer in self.encoder.layers:
            states.append(layer(states[-1]))
        return [*states[:-1], through(states[-1], self.post_layernorm)] if "post_layernorm" in self else states


def with_defaults(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A `vision_config`, complete. KeyError for encoders that are not these two."""
    return {**DEFAULTS[config.get("model_type", "clip_vision_model")], "model_type": "clip_vision_model", **config}
