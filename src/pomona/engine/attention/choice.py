"""Which kernels this machine has."""

from typing import Literal

import mlx.core as mx

from pomona.engine.attention.cpu import find_kernels
from pomona.engine.attention.cuda import CudaKernels
from pomona.engine.attention.metal import MetalKernels
from pomona.engine.attention.paged import Choosy, Reference


def choose(setting: Literal["auto", "on", "reference", "off"]) -> Choosy | None:
    """By the setting `engine.kernels` and the default device; None: MLX's own operations."""
    if setting == "off":
        return None
    if setting == "reference":
        return Reference()
    if mx.default_device().type == mx.DeviceType.gpu:
        if mx.cuda.is_available():
            return CudaKernels()
        return MetalKernels() if setting == "on" else None
    return find_kernels()
