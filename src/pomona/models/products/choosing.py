"""Which layers of a model multiply how: by measurement, as far as memory allows.

MLX's quantised products are made for few rows. On Metal they serve many as well; on CUDA they do not (8B shape in 4 bits on an H200:
145 tokens/s at 1 row, 281 at 128, where bfloat16 gives thousands), while for one row they read a quarter of the bytes. So layers that gain
by it get an expanded copy beside the packed weight, those that gain most per byte first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten

from pomona.models.cpu.expansion import flat_parameters
from pomona.models.products.layers import PackedLayer, plain, two_way
from pomona.models.products.timing import Costs, measure

Choice = Literal["auto", "packed", "expanded"]
Signature = tuple[object, ...]
"""What layers of equal cost have in common: kind, shape, bits, group, mode."""
PACKED_KINDS = (nn.QuantizedLinear, nn.QuantizedEmbedding)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A layer and the bytes of its weight, packed and expanded."""

    name: str
    signature: Signature
    packed_bytes: int
    expanded_bytes: int


def choose_products(module: nn.Module, choice: Choice, room: int, time_of: Callable[[PackedLayer, mx.Dtype], Costs] = measure) -> int:
    """Give the quantised layers of `module` the weights to multiply with, in place; the layers that were changed.

    `room` is in bytes beyond the packed weights. auto: what `time_of` finds quickest; expanded: all, as far as there is room, and nothing
    is kept packed; packed: nothing changes. Layers of other kinds, such as those of experts, stay as they are.
    """
    layers = _packed_layers(module)
    if choice == "packed" or not layers:
        return 0
    dtype = _activation_dtype(module)
    candidates = [_candidate(name, layer, dtype) for name, layer in layers.items()]
    costs = {} if choice == "expanded" else _measured(layers, candidates, dtype, time_of)
    chosen = choose(candidates, costs, room)
    for candidate in chosen:
        layer, cost = layers[candidate.name], costs.get(candidate.signature)
        most = cost.most_packed_rows if cost else 0
        made = two_way(layer, dtype, most) if most else plain(layer, dtype)
        mx.eval(made.parameters())
        module.update_modules(cast("dict[str, Any]", tree_unflatten([(candidate.name, made)])))
    module.eval()
    return len(chosen)


def choose(candidates: Sequence[Candidate], costs: Mapping[Signature, Costs], room: int) -> list[Candidate]:
    """Those to expand, within `room` bytes: the most seconds saved per byte first. Without costs all are wanted, in order."""
    wanted = [one for one in candidates if not costs or costs[one.signature].gain > 0]
    wanted.sort(key=lambda one: -costs[one.signature].gain / one.expanded_bytes if costs else 0)
    chosen: list[Candidate] = []
    for one in wanted:
        kept = bool(costs) and costs[one.signature].most_packed_rows > 0
        extra = one.expanded_bytes - (0 if kept else one.packed_bytes)
        if extra <= room:
            room -= extra
            chosen.append(one)
    return chosen


def _packed_layers(module: nn.Module) -> dict[str, PackedLayer]:
    """Subclasses have rules of their own: left alone."""
    named = cast("list[tuple[str, nn.Module]]", module.named_modules())
    return {name: cast("PackedLayer", layer) for name, layer in named if type(layer) in PACKED_KINDS}


def _candidate(name: str, layer: PackedLayer, dtype: mx.Dtype) -> Candidate:
    parts = cast("dict[str, mx.array]", layer)
    packed = sum(parts[key].nbytes for key in ("weight", "scales", "biases") if key in parts)
    facts = cast("Any", layer)
    shape = tuple(parts["weight"].shape)
    signature = (type(layer).__name__, shape, facts.bits, facts.group_size, facts.mode)
    expanded = parts["weight"].size * 32 // int(facts.bits) * dtype.size
    return Candidate(name=name, signature=signature, packed_bytes=packed, expanded_bytes=expanded)


def _measured(
    layers: Mapping[str, PackedLayer], candidates: Sequence[Candidate], dtype: mx.Dtype, time_of: Callable[[PackedLayer, mx.Dtype], Costs]
) -> dict[Signature, Costs]:
    """One layer of each signature stands for all."""
    examples = {one.signature: one.name for one in reversed(candidates)}
    return {signature: time_of(layers[name], dtype) for signature, name in examples.items()}


def _activation_dtype(module: nn.Module) -> mx.Dtype:
    """The type of most floating-point weights that are not packed: norms, and scales where they have one."""
    held: dict[mx.Dtype, int] = {}
    for _, array in flat_parameters(module):
        if mx.issubdtype(array.dtype, mx.floating):
            held[array.dtype] = held.get(array.dtype, 0) + array.nbytes
    return max(held, key=lambda dtype: held[dtype], default=mx.bfloat16)
