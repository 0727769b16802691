"""What layers compute between matrix products: in MLX, or with the C functions for CPUs (`models/cpu/kernels.py`)."""

from collections.abc import Callable
from typing import cast

import mlx.core as mx
import mlx.nn as nn

from pomona.core.errors import ModelUnusable
from pomona.models.cpu.kernels import Kernels
from pomona.models.encoders.batch import Batch

Activation = Callable[[mx.array], mx.array]
ACTIVATIONS: dict[str, Activation] = {
    "gelu": nn.gelu,
    "gelu_new": nn.gelu_approx,
    "gelu_pytorch_tanh": nn.gelu_approx,
    "relu": nn.relu,
    "silu": nn.silu,
    "swish": nn.silu,
    "tanh": mx.tanh,
    "sigmoid": mx.sigmoid,
    "identity": lambda x: x,
}


class Operations:
    """The operations in MLX. Arrays that are given away by name (`fresh`) may be used up: only the result counts."""

    def activation(self, name: str) -> Activation:
        """The function of that name in configurations. Raises ModelUnusable."""
        if name not in ACTIVATIONS:
            raise ModelUnusable(f"The activation {name!r} is not known; Pomona knows {', '.join(ACTIVATIONS)}.")
        return ACTIVATIONS[name]

    def gate(self, name: str) -> Activation:
        """(tokens, 2 width) to (tokens, width): the activation of the first half times the second."""
        activate = self.activation(name)

        def gated(fresh: mx.array) -> mx.array:
            inputs, gates = mx.split(fresh, 2, axis=-1)
            return activate(inputs) * gates

        return gated

    def add_norm(self, fresh: mx.array, residual: mx.array, norm: nn.LayerNorm) -> mx.array:
        """The layer norm of fresh + residual."""
        return norm(fresh + residual)

    def rotate(self, fresh: mx.array, cosines: mx.array, sines: mx.array, heads: int) -> mx.array:
        """Queries and keys of (tokens, 3 width) rotated by tables (tokens, head width / 2), one half of a head with the other."""
        tokens = fresh.shape[0]
        parts = fresh.reshape(tokens, 3, heads, -1)
        turned, values = parts[:, :2], parts[:, 2:]
        first, second = mx.split(turned.astype(mx.float32), 2, axis=-1)
        cosines, sines = cosines[:, None, None], sines[:, None, None]
        both = mx.concatenate([first * cosines - second * sines, second * cosines + first * sines], axis=-1)
        return mx.concatenate([both.astype(fresh.dtype), values], axis=1).reshape(tokens, -1)

    def attend(self, fresh: mx.array, batch: Batch, heads: int, window: int | None = None) -> mx.array:
        """Attention within each text of (tokens, 3 width): (tokens, width). `window`: only to tokens at most so far away."""
        grid = fresh[batch.grid].reshape(len(batch.texts), batch.longest, 3, heads, -1)
        queries, keys, values = (grid[:, :, part].transpose(0, 2, 1, 3) for part in range(3))
        mask = batch.held[:, None, None]
        if window is not None and window < batch.longest:
            places = mx.arange(batch.longest)
            mask = mask & (mx.abs(places[:, None] - places[None]) <= window)
        found = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=queries.shape[-1] ** -0.5, mask=mask)
        return found.transpose(0, 2, 1, 3).reshape(-1, fresh.shape[1] // 3)[batch.ungrid]


class CpuOperations(Operations):
    """The same in C, for float32. What C has no function for stays in MLX."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels

    def activation(self, name: str) -> Activation:
        """As `Operations.activation`."""
        return self._kernels.gelu if name == "gelu" else super().activation(name)

    def gate(self, name: str) -> Activation:
        """As `Operations.gate`."""
        return self._kernels.gelu_gate if name == "gelu" else super().gate(name)

    def add_norm(self, fresh: mx.array, residual: mx.array, norm: nn.LayerNorm) -> mx.array:
        """As `Operations.add_norm`."""
        bias = cast("mx.array | None", norm.get("bias"))
        return self._kernels.add_norm(fresh, residual, cast("mx.array", norm["weight"]), bias, norm.eps)

    def rotate(self, fresh: mx.array, cosines: mx.array, sines: mx.array, heads: int) -> mx.array:
        """As `Operations.rotate`."""
        return self._kernels.rotate(fresh, cosines, sines, heads)

    def attend(self, fresh: mx.array, batch: Batch, heads: int, window: int | None = None) -> mx.array:
        """As `Operations.attend`."""
        return self._kernels.attend(fresh, batch.spans, heads, window)
