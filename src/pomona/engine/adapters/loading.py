"""From an adapter's file to arrays that fit one model."""

from collections.abc import Mapping
from typing import cast

import mlx.core as mx
import mlx.nn as nn

from pomona.core.errors import AdapterUnusable
from pomona.engine.adapters.sites import unpacked_weight
from pomona.engine.adapters.terms import Factors
from pomona.models.adapters.facts import AdapterFacts, Part
from pomona.models.adapters.placing import Site

ROUNDING = 0.2
"""How far a weight may be from the same one in another type, four bits included, as a share of its length."""


RANKS = 8
"""Ranks of experts are filled up to a multiple: MLX's CUDA kernel for them reads 16 bytes at a time, and faults on rows of 8."""


def planned_bytes(placed: Mapping[str, tuple[Part, ...]], sites: Mapping[str, Site], dtype: mx.Dtype) -> int:
    """What `load_layers` will make."""
    return dtype.size * sum(_elements(parts, sites[name]) for name, parts in placed.items())


def load_layers(
    facts: AdapterFacts, placed: Mapping[str, tuple[Part, ...]], layers: Mapping[str, nn.Module], sites: Mapping[str, Site], dtype: mx.Dtype
) -> dict[str, Factors]:
    """Read the weights of `facts` for the layers that `place` found. Raises AdapterUnusable where they are not finite."""
    try:
        tensors = cast("dict[str, mx.array]", mx.load(str(facts.weights)))
    except (RuntimeError, ValueError, OSError) as error:
        raise AdapterUnusable(f"The adapter file {str(facts.weights)!r} cannot be read: {error}. Save the adapter again.") from error
    made: dict[str, Factors] = {}
    for name, parts in placed.items():
        _check_finite(facts, parts, tensors)
        _check_copy(facts, parts[0], tensors, layers[name])
        experts = sites[name].kind == "experts"
        factors = _aligned(_stacked(parts, tensors, sites[name])) if experts else _factors(parts[0], tensors, layers[name])
        gain = None if factors.gain is None else factors.gain.astype(dtype)
        made[name] = Factors(factors.down.astype(dtype), factors.up.astype(dtype), gain, factors.untied)
        mx.eval(made[name].arrays)
    return made


def _elements(parts: tuple[Part, ...], site: Site) -> int:
    rank = max(part.rank for part in parts)
    if site.kind == "experts":
        rank += -rank % RANKS
    return max(site.experts, 1) * rank * (site.inputs + site.outputs) + (3 * site.outputs if parts[0].magnitude else 0)


def _check_finite(facts: AdapterFacts, parts: tuple[Part, ...], tensors: Mapping[str, mx.array]) -> None:
    names = [name for part in parts for name in (part.down, part.up, part.magnitude) if name]
    finite = mx.stack([mx.isfinite(tensors[name]).all() for name in names]).tolist()
    for name, fine in zip(names, cast("list[bool]", finite), strict=True):
        if not fine:
            raise AdapterUnusable(
                f"The adapter file {str(facts.weights)!r} has values in {name!r} that are not finite (NaN or infinity): its training "
                "went wrong. Take an earlier checkpoint."
            )


def _check_copy(facts: AdapterFacts, part: Part, tensors: Mapping[str, mx.array], layer: nn.Module) -> None:
    if part.copy is None:
        return
    there, brought = unpacked_weight(layer).astype(mx.float32), tensors[part.copy].astype(mx.float32)
    if there.shape != brought.shape or float(mx.linalg.norm(there - brought)) > ROUNDING * float(mx.linalg.norm(there)):
        raise AdapterUnusable(
            f"The adapter {facts.name!r} brings a weight of its own, {part.copy!r} in {str(facts.weights)!r}, which is not the model's. "
            "Merge it into its model, and serve that."
        )


def _pair(part: Part, tensors: Mapping[str, mx.array]) -> tuple[mx.array, mx.array]:
    """(inputs, rank) and (rank, outputs) in float32, scaled."""
    down, up = tensors[part.down].astype(mx.float32), tensors[part.up].astype(mx.float32) * part.scale
    return (down.swapaxes(-1, -2), up.swapaxes(-1, -2)) if part.turned else (down, up)


def _factors(part: Part, tensors: Mapping[str, mx.array], layer: nn.Module) -> Factors:
    down, up = _pair(part, tensors)
    if part.magnitude is None:
        return Factors(mx.contiguous(down), mx.contiguous(up), untied=part.untied)
    weight = unpacked_weight(layer).astype(mx.float32) + (down @ up).T
    gain = tensors[part.magnitude].astype(mx.float32).flatten() / mx.linalg.norm(weight, axis=1)
    return Factors(mx.contiguous(down), up * gain, gain - 1.0)


def _stacked(parts: tuple[Part, ...], tensors: Mapping[str, mx.array], site: Site) -> Factors:
    """Experts of their own files are laid one on another; those without a part add nothing."""
    if parts[0].experts:
        down, up = _pair(parts[0], tensors)
        return Factors(mx.contiguous(down), mx.contiguous(up))
    rank = max(part.rank for part in parts)
    downs, ups = [mx.zeros((site.inputs, rank))] * site.experts, [mx.zeros((rank, site.outputs))] * site.experts
    for part in parts:
        down, up = _pair(part, tensors)
        spare = rank - part.rank
        downs[part.expert or 0], ups[part.expert or 0] = mx.pad(down, [(0, 0), (0, spare)]), mx.pad(up, [(0, spare), (0, 0)])
    return Factors(mx.stack(downs), mx.stack(ups))


def _aligned(factors: Factors) -> Factors:
    spare = -factors.rank % RANKS
    down, up = mx.pad(factors.down, [(0, 0), (0, 0), (0, spare)]), mx.pad(factors.up, [(0, 0), (0, spare), (0, 0)])
    return Factors(mx.contiguous(down), mx.contiguous(up), factors.gain, factors.untied)
