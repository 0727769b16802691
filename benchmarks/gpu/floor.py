"""The least time of a decode step: every weight and every key and value is read once, at the speed of a large copy."""

import time
from importlib import import_module
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn

from benchmarks.gpu.model_shapes import Shape

COPY_BYTES = 2**30


def copy_bytes_per_second(size: int = COPY_BYTES) -> float:
    """Bytes read and written in a second by MLX, copying an array that no cache holds; the best of several."""
    source = mx.random.randint(0, 100, (size // 4,))
    mx.eval(source)
    best = 0.0
    for _ in range(5):
        started = time.perf_counter()
        mx.eval(source + 1)
        best = max(best, 2 * size / (time.perf_counter() - started))
    return best


def weight_bytes(model: nn.Module, shape: Shape) -> int:
    """Of a step: all but the embedding, of which a step reads a line for each row, unless it is the head too."""
    flatten = cast("Any", import_module("mlx.utils")).tree_flatten
    sizes = {path: value.nbytes for path, value in cast("list[tuple[str, mx.array]]", flatten(model.parameters()))}
    tied = bool(shape.config.get("tie_word_embeddings"))
    return sum(size for path, size in sizes.items() if tied or "embed_tokens" not in path)


def cache_bytes(shape: Shape, tokens: int, item_bytes: int) -> int:
    """Keys and values of so many tokens."""
    config = cast("dict[str, int]", shape.config)
    dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * dim * item_bytes * tokens
