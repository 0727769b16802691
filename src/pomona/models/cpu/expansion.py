"""Weights expanded to float32 for CPUs, whose MLX products of every other type are scalar.

Measured on a 4-bit 2048 x 2048 product: 3.6 ms with float32 activations and 29 ms with bfloat16, against 0.15 ms in plain float32.
"""

from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
import mlx.utils
from mlx.utils import tree_unflatten
from mlx_lm.models.mla import MultiLinear, QuantizedMultiLinear
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear

from pomona.models.cpu.packing import PackedWeights, Packing

PRODUCTS = (nn.Linear, nn.Embedding, SwitchLinear)
"""Layers that multiply rows by their transposed weights, an embedding where it is also the output."""


def expand_to_float32(module: nn.Module, packing: Packing = "off") -> int:
    """Replace quantised layers by plain ones and cast all floating-point weights to float32, in place, one layer at a time.

    Scales are taken to float32 first, so nothing is rounded to the stored type on the way. Layers of kinds that are not known here
    keep their packed weights and work as before, only slower. Returns the bytes of the packed copies that `packing` asks for.
    """
    packed = PackedWeights(module, packing)
    for name, layer in _layers(module):
        plain = _plain(layer)
        if plain is not None:
            mx.eval(plain.parameters())
            if isinstance(plain, PRODUCTS):
                packed.add_quantized(plain.weight, layer)
            module.update_modules(cast("dict[str, Any]", tree_unflatten([(name, plain)])))
    multiplied = {f"{name}.weight" for name, layer in _layers(module) if type(layer) in PRODUCTS}
    for name, array in flat_parameters(module):
        if mx.issubdtype(array.dtype, mx.floating) and array.dtype != mx.float32:
            plain_array = array.astype(mx.float32)
            if name in multiplied:
                packed.add_halves(plain_array)
            module.update(cast("dict[str, Any]", tree_unflatten([(name, plain_array)])))
    module.eval()
    return packed.packed_bytes


def _layers(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return cast("list[tuple[str, nn.Module]]", module.named_modules())


def flat_parameters(module: nn.Module) -> list[tuple[str, mx.array]]:
    """Every weight by its dotted name."""
    return cast("list[tuple[str, mx.array]]", cast("Any", mlx.utils).tree_flatten(module.parameters()))


def _plain(layer: nn.Module) -> nn.Module | None:
    """A plain layer with the same weights, None for layers that are not quantised. Subclasses have rules of their own: left alone."""
    kind = type(layer)
    if kind is nn.QuantizedLinear:
        plain: Any = nn.Linear(1, 1, bias=False)
    elif kind is nn.QuantizedEmbedding:
        plain = nn.Embedding(1, 1)
    elif kind is QuantizedSwitchLinear:
        plain = SwitchLinear(1, 1, 1, bias=False)
    elif kind is QuantizedMultiLinear:
        plain = MultiLinear(1, 1, 1)
    else:
        return None
    plain.weight = _unpack(layer)
    if "bias" in layer:
        plain.bias = cast("mx.array", layer["bias"]).astype(mx.float32)
    return plain


def _unpack(layer: Any) -> mx.array:
    weight, scales, biases = layer["weight"], layer["scales"], layer.get("biases")
    if layer.mode == "affine":
        scales, biases = scales.astype(mx.float32), biases.astype(mx.float32)
    scale = layer.get("global_scale")
    if scale is None:
        return mx.dequantize(weight, scales, biases, layer.group_size, layer.bits, layer.mode, dtype=mx.float32)
    experts = [
        mx.dequantize(weight[e], scales[e], None, layer.group_size, layer.bits, layer.mode, scale[e], dtype=mx.float32)
        for e in range(weight.shape[0])
    ]
    return mx.stack(experts)
