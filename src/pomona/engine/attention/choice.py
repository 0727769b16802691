"""Which kernels this machine has."""

from typing import Literal

from pomona.engine.attention.paged import Choosy, Reference


def choose(setting: Literal["auto", "on", "off"]) -> Choosy | None:
    """By the setting `engine.kernels` and the default device; None: MLX's own operations."""
    return Reference() if setting == "on" else None
