"""ModernBERT (Warner et al. 2024): rotary positions, norms before each block, gated inner layers, local attention in most layers."""

from collections.abc import Mapping
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from pomona.core.errors import ModelUnusable
from pomona.models.encoders.batch import Batch
from pomona.models.encoders.bert import Config
from pomona.models.encoders.nodes import Block, Node, Norm, Weights, head_width
from pomona.models.encoders.operations import Operations
from pomona.models.encoders.pooling import mean

GLOBAL, LOCAL = "full_attention", "sliding_attention"
BASES = {GLOBAL: ("global_rope_theta", 160_000.0), LOCAL: ("local_rope_theta", 10_000.0)}


class Layer(Block):
    """One block of kind `full_attention` or `sliding_attention`."""

    def __init__(self, config: Config, operations: Operations, kind: str, *, first: bool) -> None:
        super().__init__()
        width, inner, bias = config["hidden_size"], config["intermediate_size"], bool(config.get("attention_bias", False))
        inner_bias = bool(config.get("mlp_bias", False))
        self.attn_norm = nn.Identity() if first else _norm(config)
        self.attn = Node(Wqkv=nn.Linear(width, 3 * width, bias=bias), Wo=nn.Linear(width, width, bias=bias))
        self.mlp_norm = _norm(config)
        self.mlp = Node(Wi=nn.Linear(width, 2 * inner, bias=inner_bias), Wo=nn.Linear(inner, width, bias=inner_bias))
        self.kind = kind
        self._heads = config["num_attention_heads"]
        self._window = config.get("local_attention", 128) // 2 if kind == LOCAL else None
        self._gate = operations.gate(config.get("hidden_activation", "gelu"))
        self._operations = operations

    def __call__(self, x: mx.array, batch: Batch, tables: tuple[mx.array, mx.array]) -> mx.array:
        """(tokens, width) to (tokens, width)."""
        operations = self._operations
        turned = operations.rotate(self.attn.Wqkv(self.attn_norm(x)), *tables, self._heads)
        x = x + self.attn.Wo(operations.attend(turned, batch, self._heads, self._window))
        return x + self.mlp.Wo(self._gate(self.mlp.Wi(self.mlp_norm(x))))


class ModernBert(Block):
    """The encoder of a ModernBERT. `scores`: with the head of a classifier of one class."""

    prefix = "model."

    def __init__(self, config: Config, operations: Operations, *, scores: bool) -> None:
        super().__init__()
        width = config["hidden_size"]
        self.embeddings = Node(tok_embeddings=nn.Embedding(config["vocab_size"], width), norm=_norm(config))
        kinds = _kinds(config)
        self.layers = [Layer(config, operations, kind, first=index == 0) for index, kind in enumerate(kinds)]
        self.final_norm = _norm(config)
        self._size = head_width(config, even=True)
        self._bases = {kind: _base(config, kind) for kind in set(kinds)}
        self._averages = config.get("classifier_pooling", "cls") == "mean"
        if scores:
            self.head = Node(dense=nn.Linear(width, width, bias=bool(config.get("classifier_bias", False))), norm=_norm(config))
            self.classifier = nn.Linear(width, 1)
            self._activate = Operations().activation(config.get("classifier_activation", "gelu"))

    @staticmethod
    def rename(weights: Weights) -> Weights:
        """Published weights under the names of this module: they are the same."""
        return weights

    def __call__(self, batch: Batch) -> mx.array:
        """The last hidden states, (tokens, width)."""
        x = self.embeddings.norm(self.embeddings.tok_embeddings(batch.ids))
        tables = {kind: self._tables(base, batch) for kind, base in self._bases.items()}
        for layer in self.layers:
            x = layer(x, batch, tables[layer.kind])
        return self.final_norm(x)

    def score(self, hidden: mx.array, batch: Batch) -> mx.array:
        """(texts,): the logit of each text, from its first token or the mean of all."""
        pooled = mean(hidden, batch) if self._averages else hidden[batch.first]
        return self.classifier(self.head.norm(self._activate(self.head.dense(pooled))))[:, 0]

    def _tables(self, base: float, batch: Batch) -> tuple[mx.array, mx.array]:
        """(cos, sin), each (tokens, head width / 2), of a base that belongs to one kind of layers."""
        exponents = np.arange(0, self._size, 2, dtype=np.float32) / self._size
        angles = batch.positions[:, None].astype(mx.float32) * mx.array(1.0 / np.float32(base) ** exponents)
        return mx.cos(angles), mx.sin(angles)


def _norm(config: Config) -> Norm:
    return Norm(config["hidden_size"], config.get("norm_eps", 1e-5), bias=bool(config.get("norm_bias", False)))


def _kinds(config: Config) -> list[str]:
    """Whether each layer sees all tokens or those near by; every third sees all where the configuration does not list them."""
    listed = cast("list[str] | None", config.get("layer_types"))
    every = config.get("global_attn_every_n_layers", 3)
    kinds = listed or [LOCAL if index % every else GLOBAL for index in range(config["num_hidden_layers"])]
    unknown = [kind for kind in kinds if kind not in BASES]
    if unknown or len(kinds) != config["num_hidden_layers"]:
        raise ModelUnusable(f"layer_types = {kinds!r} must name {GLOBAL} or {LOCAL} for each of {config['num_hidden_layers']} layers.")
    return kinds


def _base(config: Config, kind: str) -> float:
    """The base of the rotary angles; newer configurations keep it in `rope_parameters`, by kind."""
    name, usual = BASES[kind]
    parameters = cast("Mapping[str, Any]", (config.get("rope_parameters") or {}).get(kind) or {})
    if parameters.get("rope_type", "default") != "default" or config.get("rope_scaling"):
        raise ModelUnusable(f"rope_parameters = {dict(parameters)!r}: only the rope_type 'default' is known.")
    found = parameters.get("rope_theta", config.get(name))
    if found is None:
        return usual
    return float(found)
