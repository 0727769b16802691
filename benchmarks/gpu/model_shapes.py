"""Models of real shapes with random weights, made on the device: speed does not depend on what the weights say."""

import importlib
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn

from benchmarks.gpu.shapes import SHAPES, Shape

__all__ = ["SHAPES", "Shape", "build"]
SPREAD = 0.02


def build(shape: Shape, dtype: mx.Dtype = mx.bfloat16, *, seed: int = 0) -> nn.Module:
    """The model in the memory of the default device. Norms are ones, everything else is drawn from `seed`."""
    definition = cast("Any", importlib.import_module(f"mlx_lm.models.{shape.config['model_type']}"))
    module = cast("nn.Module", definition.Model(definition.ModelArgs.from_dict(dict(shape.config))))
    flatten = cast("Any", importlib.import_module("mlx.utils")).tree_flatten
    key = mx.random.key(seed)
    for path, value in cast("list[tuple[str, mx.array]]", flatten(module.parameters())):
        key, own = mx.random.split(key)
        drawn = mx.ones(value.shape, dtype) if value.ndim == 1 else mx.random.normal(value.shape, dtype, scale=SPREAD, key=own)
        module.load_weights([(path, drawn)], strict=False)  # one at a time: the float32 initial values are never computed
        cast("Any", mx).eval(drawn)
    module.eval()
    return module
