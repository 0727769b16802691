"""What language models compute between their products on CPUs, by `attention.c`.

MLX needs 16 ns for each number of an activation, whose exponential it takes one by one, and 23 us for a norm of one token, which
it composes of eight operations.
"""

import sys
from collections.abc import Callable
from functools import cache
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten
from mlx_lm.models import activations

from pomona.models.cpu.blas import product_library
from pomona.models.cpu.calls import SIDE, Desk, Function

_plain_swiglu = cast("Callable[[mx.array, mx.array], mx.array]", activations.swiglu)


def quicken(module: nn.Module) -> None:
    """Let the activations and norms of a model that runs on the CPU be calls, where these are compiled. Its weights must be computed."""
    desk = _shared_desk()
    if desk is None:
        return
    _install_swiglu(desk)
    layers = cast("list[tuple[str, nn.Module]]", module.named_modules())
    for name, norm in [(name, layer) for name, layer in layers if type(layer) is nn.RMSNorm and _fits(layer.weight)]:
        call = desk.norm(norm.weight, norm.eps)
        if call is not None:
            module.update_modules(cast("dict[str, Any]", tree_unflatten([(name, CalledNorm(norm, call))])))


class CalledNorm(nn.Module):
    """In the place of an `nn.RMSNorm`: same parameters, same call, same result but for rounding."""

    def __init__(self, norm: nn.RMSNorm, call: Function) -> None:
        super().__init__()
        self.weight, self.eps = norm.weight, norm.eps
        self._first = norm.weight
        self._call = _differentiable(call, self._plain)

    def __call__(self, x: mx.array) -> mx.array:
        """Of the last axis."""
        called = _fits(x) and self.weight is self._first and mx.default_device() == mx.cpu
        return self._call(x) if called else mx.fast.rms_norm(x, self.weight, self.eps)

    def _plain(self, x: mx.array) -> mx.array:
        return mx.fast.rms_norm(x, self._first, self.eps)


@cache
def _shared_desk() -> Desk | None:
    library = product_library()
    return None if library is None else Desk(library)


@cache
def _install_swiglu(desk: Desk) -> None:
    """Give every model definition of mlx-lm, loaded or to come, a `swiglu` by `attention.c`."""
    call = desk.silu()
    if call is None:
        return
    silu = _differentiable(call, _plain_silu)

    def swiglu(gate: mx.array, x: mx.array) -> mx.array:
        """silu(gate) * x, as mlx-lm's function of that name."""
        return silu(gate) * x if _fits(gate) and mx.default_device() == mx.cpu else _plain_swiglu(gate, x)

    for module in [module for name, module in sys.modules.items() if name.startswith("mlx_lm.models.")]:
        if getattr(module, "swiglu", None) is _plain_swiglu:
            vars(module)["swiglu"] = swiglu


def _differentiable(call: Function, plain: Function) -> Function:
    """`call`, with the gradient of `plain`: MLX would differentiate it as the product that it looks like."""
    function = cast("Any", mx.custom_function)(call)

    def gradient(x: mx.array, cotangent: mx.array, _: mx.array) -> mx.array:
        return mx.vjp(plain, [x], [cotangent])[1][0]

    function.vjp(gradient)
    return cast("Function", function)


def _plain_silu(x: mx.array) -> mx.array:
    return x * mx.sigmoid(x)


def _fits(x: mx.array) -> bool:
    return x.dtype == mx.float32 and x.shape[-1] % SIDE == 0
