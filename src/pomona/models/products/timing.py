"""What a packed and an expanded weight cost on this device, by the number of rows."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import mlx.core as mx
import mlx.nn as nn

from pomona.models.products.layers import PackedLayer, expand

ROWS = (1, 2, 4, 8, 16, 32, 64, 256, 1024)
"""From one answer to a chunk of a prompt."""
REPEATS, ROUNDS = 8, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Seconds of one product by number of rows."""

    packed: Mapping[int, float]
    expanded: Mapping[int, float]

    @property
    def most_packed_rows(self) -> int:
        """The packed weight is quicker up to this many rows; 0: never."""
        most = 0
        for rows in sorted(self.packed):
            if self.packed[rows] > self.expanded[rows]:
                break
            most = rows
        return most

    @property
    def gain(self) -> float:
        """Seconds that the quicker way saves against the packed one, over all numbers of rows."""
        return sum(max(0.0, self.packed[rows] - self.expanded[rows]) for rows in self.packed)


def measure(layer: PackedLayer, dtype: mx.Dtype) -> Costs:
    """Time products of `layer` with rows of `dtype`, after one that compiles what the device needs."""
    weight = expand(layer, dtype)
    width = weight.shape[1]
    mx.eval(weight)
    call = cast("Callable[[mx.array], mx.array]", layer.as_linear if isinstance(layer, nn.QuantizedEmbedding) else layer)
    inputs = {rows: [mx.random.normal((rows, width), dtype) for _ in range(REPEATS)] for rows in ROWS}
    mx.eval([x for several in inputs.values() for x in several])
    return Costs(
        packed={rows: _seconds(call, several) for rows, several in inputs.items()},
        expanded={rows: _seconds(lambda x: x @ weight.T, several) for rows, several in inputs.items()},
    )


def _seconds(product: Callable[[mx.array], mx.array], inputs: list[mx.array]) -> float:
    """The best round: others on the machine only add."""
    mx.eval(product(inputs[0]))
    best = math.inf
    for _ in range(ROUNDS):
        started = time.perf_counter()
        mx.eval([product(x) for x in inputs])
        best = min(best, (time.perf_counter() - started) / len(inputs))
    return best
