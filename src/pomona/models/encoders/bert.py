"""BERT (Devlin et al. 2018): learned positions, norms behind each block, attention to all tokens."""

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from pomona.core.errors import ModelUnusable
from pomona.models.encoders.batch import Batch
from pomona.models.encoders.nodes import Block, Node, Norm, Weights, head_width, join
from pomona.models.encoders.operations import Operations

Config = Mapping[str, Any]


class Layer(Block):
    """One block; queries, keys and values come out of one product."""

    def __init__(self, config: Config, operations: Operations) -> None:
        super().__init__()
        width, inner, epsilon = config["hidden_size"], config["intermediate_size"], config.get("layer_norm_eps", 1e-12)
        own = Node(qkv=nn.Linear(width, 3 * width))
        self.attention = Node(self=own, output=Node(dense=nn.Linear(width, width), LayerNorm=Norm(width, epsilon)))
        self.intermediate = Node(dense=nn.Linear(width, inner))
        self.output = Node(dense=nn.Linear(inner, width), LayerNorm=Norm(width, epsilon))
        self._heads = config["num_attention_heads"]
        self._activate = operations.activation(config.get("hidden_act", "gelu"))
        self._operations = operations

    def __call__(self, x: mx.array, batch: Batch) -> mx.array:
        """(tokens, width) to (tokens, width)."""
        operations, attention = self._operations, self.attention
        seen = operations.attend(attention.self.qkv(x), batch, self._heads)
        x = operations.add_norm(attention.output.dense(seen), x, attention.output.LayerNorm)
        inner = self._activate(self.intermediate.dense(x))
        return operations.add_norm(self.output.dense(inner), x, self.output.LayerNorm)


class Bert(Block):
    """The encoder of a BERT. `scores`: with the head of a classifier of one class."""

    prefix = "bert."

    def __init__(self, config: Config, operations: Operations, *, scores: bool) -> None:
        super().__init__()
        if config.get("position_embedding_type", "absolute") != "absolute" or config.get("is_decoder"):
            raise ModelUnusable("Only absolute positions (position_embedding_type) and encoders (is_decoder false) are known.")
        head_width(config)
        width = config["hidden_size"]
        self.embeddings = Node(
            word_embeddings=nn.Embedding(config["vocab_size"], width),
            position_embeddings=nn.Embedding(config["max_position_embeddings"], width),
            token_type_embeddings=nn.Embedding(config.get("type_vocab_size", 2), width),
            LayerNorm=Norm(width, config.get("layer_norm_eps", 1e-12)),
        )
        self.encoder = Node(layer=[Layer(config, operations) for _ in range(config["num_hidden_layers"])])
        self._types = config.get("type_vocab_size", 2)
        self._operations = operations
        if scores:
            self.add_head(width)

    @staticmethod
    def rename(weights: Weights) -> Weights:
        """Published weights under the names of this module."""
        layers = {name.partition(".attention.self.")[0] for name in weights if ".attention.self." in name}
        for layer in layers:
            own = f"{layer}.attention.self"
            join(weights, (f"{own}.query", f"{own}.key", f"{own}.value"), f"{own}.qkv")
        return {name: value for name, value in weights.items() if not name.endswith(".position_ids")}

    def add_head(self, width: int) -> None:
        """The parts of the head."""
        self.pooler = Node(dense=nn.Linear(width, width))
        self.classifier = nn.Linear(width, 1)

    def __call__(self, batch: Batch) -> mx.array:
        """The last hidden states, (tokens, width)."""
        parts = self.embeddings
        x = parts.word_embeddings(batch.ids) + parts.position_embeddings(self.positions(batch))
        if self._types > 1:
            x = parts.LayerNorm(x + parts.token_type_embeddings(batch.types))
        else:
            x = parts.LayerNorm(x + parts.token_type_embeddings(mx.zeros_like(batch.ids)))
        for layer in self.encoder.layer:
            x = layer(x, batch)
        return x

    def positions(self, batch: Batch) -> mx.array:
        """(tokens,): rows of the table of positions."""
        return batch.positions

    def score(self, hidden: mx.array, batch: Batch) -> mx.array:
        """(texts,): the logit of each text, from its first token."""
        return self.classifier(mx.tanh(self.pooler.dense(hidden[batch.first])))[:, 0]
