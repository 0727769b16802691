"""Quantised models of real shapes, and what their products take packed and expanded, by the number of rows."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, cast

import mlx.core as mx
import mlx.nn as nn

from pomona.models.device import free_device_bytes
from pomona.models.products.choosing import choose_products
from pomona.models.products.layers import PackedLayer
from pomona.models.products.timing import measure

GROUP = 64
SHARE = 0.5
"""Of the free memory for expanded weights, as in `models.expanded_share`."""
Choice = Literal["auto", "packed", "expanded"]


def quantise(model: nn.Module, bits: int, products: Choice) -> nn.Module:
    """In place: all layers that can be, and then the weights that `models.quantized_on_gpu` = `products` chooses."""
    cast("Any", nn).quantize(model, group_size=GROUP, bits=bits)
    mx.eval(model.parameters())
    choose_products(model, products, int(SHARE * free_device_bytes()))
    return model


def kinds(model: nn.Module) -> Iterator[tuple[str, PackedLayer]]:
    """One packed layer of each shape, by its first name."""
    seen: set[tuple[int, ...]] = set()
    for name, layer in cast("list[tuple[str, nn.Module]]", model.named_modules()):
        if type(layer) not in {nn.QuantizedLinear, nn.QuantizedEmbedding}:
            continue
        packed = cast("PackedLayer", layer)
        shape = tuple(cast("mx.array", packed["weight"]).shape)
        if shape not in seen:
            seen.add(shape)
            yield name.split(".")[-1], packed


def product_times(layer: PackedLayer, dtype: mx.Dtype) -> Mapping[str, float]:
    """Microseconds by the number of rows, each way, and the most rows that the packed weight is quicker for."""
    costs = measure(layer, dtype)
    values = {f"packed {rows}": 1e6 * seconds for rows, seconds in costs.packed.items()}
    values |= {f"expanded {rows}": 1e6 * seconds for rows, seconds in costs.expanded.items()}
    return {**values, "most_packed_rows": float(costs.most_packed_rows)}
