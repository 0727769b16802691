"""Models as their published configurations describe them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A model as its published configuration describes it."""

    name: str
    config: Mapping[str, object]

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return int(cast("int", self.config["vocab_size"]))

    @property
    def max_context(self) -> int:
        """Longest context in tokens."""
        return int(cast("int", self.config["max_position_embeddings"]))


SHAPES: Mapping[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape(
            name="8b",
            config={
                "model_type": "llama",
                "hidden_size": 4096,
                "num_hidden_layers": 32,
                "intermediate_size": 14336,
                "num_attention_heads": 32,
                "num_key_value_heads": 8,
                "vocab_size": 128256,
                "max_position_embeddings": 131072,
                "rms_norm_eps": 1e-5,
                "rope_theta": 500000.0,
                "tie_word_embeddings": False,
            },
        ),
        Shape(
            name="0.6b",
            config={
                "model_type": "qwen3",
                "hidden_size": 1024,
                "num_hidden_layers": 28,
                "intermediate_size": 3072,
                "num_attention_heads": 16,
                "num_key_value_heads": 8,
                "head_dim": 128,
                "vocab_size": 151936,
                "max_position_embeddings": 40960,
                "rms_norm_eps": 1e-6,
                "rope_theta": 1000000.0,
                "tie_word_embeddings": True,
            },
        ),
        Shape(
            name="tiny",
            config={
                "model_type": "llama",
                "hidden_size": 128,
                "num_hidden_layers": 2,
                "intermediate_size": 256,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "vocab_size": 8192,
                "max_position_embeddings": 4096,
                "rms_norm_eps": 1e-5,
                "tie_word_embeddings": False,
            },
        ),
    )
}
"""Llama 3.1 8B, Qwen3 0.6B, and one that shows on any machine that a benchmark runs."""
