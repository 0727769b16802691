"""The activation of most language models on CPUs: MLX computes its exponential one number at a time, 16 ns each."""

import sys
from collections.abc import Callable
from typing import Any, cast

import mlx.core as mx
from mlx_lm.models import activations

from pomona.models.cpu.blas import product_library
from pomona.models.cpu.calls import SIDE, Desk

_plain = cast("Callable[[mx.array, mx.array], mx.array]", activations.swiglu)


def quicken_activations() -> None:
    """Give every model definition of mlx-lm, loaded or to come, a `swiglu` by `attention.c`, where that is compiled; once."""
    library = product_library()
    if library is None or activations.swiglu is not _plain:
        return
    silu = _with_gradient(Desk(library))

    def swiglu(gate: mx.array, x: mx.array) -> mx.array:
        """silu(gate) * x, as mlx-lm's function of that name."""
        if gate.dtype != mx.float32 or gate.size % SIDE or mx.default_device() != mx.cpu:
            return _plain(gate, x)
        return silu(gate) * x

    for module in [module for name, module in sys.modules.items() if name.startswith("mlx_lm.models.")]:
        if getattr(module, "swiglu", None) is _plain:
            vars(module)["swiglu"] = swiglu


def _with_gradient(desk: Desk) -> Callable[[mx.array], mx.array]:
    """MLX would differentiate the call as the product that it looks like."""

    silu = cast("Any", mx.custom_function)(desk.silu)

    def gradient(x: mx.array, cotangent: mx.array, _: Any) -> mx.array:
        share = mx.sigmoid(x)
        return cotangent * share * (1 + x * (1 - share))

    silu.vjp(gradient)
    return cast("Callable[[mx.array], mx.array]", silu)
