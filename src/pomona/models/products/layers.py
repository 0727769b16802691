"""Layers that hold their weight twice and take the copy that is quicker for the rows at hand."""

from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn

PackedLayer = nn.QuantizedLinear | nn.QuantizedEmbedding


class TwoWayLinear(nn.QuantizedLinear):
    """(…, inputs) -> (…, outputs). Up to `most_packed_rows` rows go through the packed weight, more through the expanded one."""

    expanded: mx.array
    most_packed_rows: int

    def __call__(self, x: mx.array) -> mx.array:
        """As `nn.QuantizedLinear`."""
        if _rows(x) <= self.most_packed_rows:
            return cast("mx.array", super().__call__(x))
        y = x @ cast("mx.array", self["expanded"]).T
        return y + cast("mx.array", self["bias"]) if "bias" in self else y


class TwoWayEmbedding(nn.QuantizedEmbedding):
    """As `nn.QuantizedEmbedding`; its use as the last layer goes both ways."""

    expanded: mx.array
    most_packed_rows: int

    def as_linear(self, x: mx.array) -> mx.array:
        """(…, width) -> (…, vocabulary)."""
        if _rows(x) <= self.most_packed_rows:
            return super().as_linear(x)
        return x @ cast("mx.array", self["expanded"]).T


def expand(layer: PackedLayer, dtype: mx.Dtype) -> mx.array:
    """Its weight in `dtype`: (outputs, inputs) of a linear layer, (vocabulary, width) of an embedding."""
    packed = cast("Any", layer)
    return mx.dequantize(packed["weight"], packed["scales"], packed.get("biases"), packed.group_size, packed.bits, packed.mode, dtype=dtype)


def two_way(layer: PackedLayer, dtype: mx.Dtype, most_packed_rows: int) -> nn.Module:
    """`layer` with an expanded copy beside its own weight, which both layers share."""
    kind = TwoWayLinear if isinstance(layer, nn.QuantizedLinear) else TwoWayEmbedding
    made = cast("Any", kind.__new__(kind))
    nn.Module.__init__(made)
    for name, value in cast("dict[str, object]", {**vars(layer), **layer}).items():
        if name not in vars(made):
            setattr(made, name, value)
    made.expanded, made.most_packed_rows = expand(layer, dtype), most_packed_rows
    made.freeze()
    return cast("nn.Module", made)


def plain(layer: PackedLayer, dtype: mx.Dtype) -> nn.Module:
    """A layer of the expanded weight alone."""
    made: Any = nn.Linear(1, 1, bias=False) if isinstance(layer, nn.QuantizedLinear) else nn.Embedding(1, 1)
    made.weight = expand(layer, dtype)
    if "bias" in layer:
        made.bias = layer["bias"]
    return cast("nn.Module", made)


def _rows(x: mx.array) -> int:
    return x.size // x.shape[-1]
