"""Parts that the architectures share. Modules have the names that published weights have, so that errors can tell those."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn

from pomona.core.errors import ModelUnusable


class Block(nn.Module):
    """A module whose parts a type checker takes as they are."""

    if TYPE_CHECKING:

        def __getattr__(self, key: str) -> Any: ...


class Node(Block):
    """Named parts without a computation of their own."""

    def __init__(self, /, **parts: object) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


class Norm(nn.LayerNorm):
    """A layer norm whose bias may be missing."""

    def __init__(self, width: int, epsilon: float, *, bias: bool = True) -> None:
        super().__init__(width, eps=epsilon, bias=bias)


Weights = dict[str, mx.array]


def head_width(config: Mapping[str, Any], *, even: bool = False) -> int:
    """Numbers of a head; `even` where its halves are rotated. Raises ModelUnusable."""
    width, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    if heads < 1 or width % heads or (even and width // heads % 2):
        into = "heads of an even width" if even else "heads"
        raise ModelUnusable(f"hidden_size = {width!r} cannot be divided into num_attention_heads = {heads!r} {into}.")
    return width // heads


def join(weights: Weights, names: tuple[str, ...], joined: str) -> None:
    """Replace `names` by one array in which their rows follow each other, for each of the arrays that a layer has."""
    for ending in ("weight", "scales", "biases", "bias"):
        parts = [weights.pop(f"{name}.{ending}", None) for name in names]
        found = [part for part in parts if part is not None]
        if len(found) == len(names):
            weights[f"{joined}.{ending}"] = mx.concatenate(found)
        else:
            weights.update({f"{name}.{ending}": part for name, part in zip(names, parts, strict=True) if part is not None})
