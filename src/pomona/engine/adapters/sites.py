"""The layers of a model that adapters can change, by name."""

from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear

from pomona.models.adapters.placing import Site
from pomona.models.cpu.expansion import flat_parameters

QUANTIZED = (nn.QuantizedLinear, nn.QuantizedEmbedding, QuantizedSwitchLinear)


def find_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Every linear layer, embedding and layer of experts, plain or quantised, by its dotted name."""
    kinds = (nn.Linear, nn.Embedding, SwitchLinear, *QUANTIZED)
    return {name: layer for name, layer in cast("list[tuple[str, nn.Module]]", model.named_modules()) if isinstance(layer, kinds)}


def describe_layer(layer: nn.Module) -> Site:
    """Its kind and sizes, those of the weight before it was packed."""
    weight = cast("mx.array", layer["weight"])
    width = weight.shape[-1]
    if isinstance(layer, QUANTIZED):
        width = width * 32 // int(cast("Any", layer).bits)
    if isinstance(layer, nn.Embedding | nn.QuantizedEmbedding):
        return Site(kind="embedding", inputs=weight.shape[0], outputs=width)
    if weight.ndim == 3:
        return Site(kind="experts", inputs=width, outputs=weight.shape[1], experts=weight.shape[0])
    return Site(kind="linear", inputs=width, outputs=weight.shape[0])


def unpacked_weight(layer: nn.Module) -> mx.array:
    """(outputs, inputs) of a linear layer, (vocabulary, width) of an embedding."""
    if not isinstance(layer, nn.QuantizedLinear | nn.QuantizedEmbedding):
        return cast("mx.array", layer["weight"])
    packed = cast("Any", layer)
    return mx.dequantize(packed["weight"], packed["scales"], packed.get("biases"), packed.group_size, packed.bits, packed.mode)


def compute_dtype(model: nn.Module) -> mx.Dtype:
    """The type of most weights that are not packed, in which activations come; on CPUs float32, the only one that is fast there."""
    held: dict[mx.Dtype, int] = {}
    for _, array in flat_parameters(model):
        if mx.issubdtype(array.dtype, mx.floating):
            held[array.dtype] = held.get(array.dtype, 0) + array.nbytes
    if mx.default_device() == mx.cpu or not held:
        return mx.float32
    return max(held, key=lambda dtype: held[dtype])
