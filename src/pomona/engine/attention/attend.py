"""Attention over pages, without copying them.

mlx-lm's models call `mlx_lm.models.base.scaled_dot_product_attention`; `install` puts a version there that asks the cache first. The
ways it has: kernels for one token per row (`paged.py`), `gather_mm` for ragged rows (`gathered.py`). Else MLX's own attention takes
the keys and values that the cache handed out.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, cast

import mlx.core as mx
from mlx_lm.models import base

from pomona.engine.attention.views import Mask

_dense_attention = cast("Callable[..., mx.array]", base.scaled_dot_product_attention)


class Attendant(ABC):
    """A cache that can attend over what it keeps."""

    @abstractmethod
    def attend(self, queries: mx.array, scale: float, mask: Mask, sinks: mx.array | None) -> mx.array | None:
        """(rows, query_heads, tokens, dim) -> the same with the values' dim; None where it has no way of its own."""

    @abstractmethod
    def fetched(self) -> tuple[mx.array, mx.array]:
        """All visible keys and values; what was handed out may have stood in for them."""

    @abstractmethod
    def is_fetched(self, keys: mx.array, values: mx.array) -> bool:
        """Whether these are the very arrays that the cache handed out, not something made of them."""


def install() -> None:
    """Make every model definition, loaded or to come, attend through this module. Does nothing the second time."""
    names = [name for name in sys.modules if name.startswith("mlx_lm.models.")]
    for module in (sys.modules[name] for name in names):
        if getattr(module, "scaled_dot_product_attention", None) is _dense_attention:
            vars(module)["scaled_dot_product_attention"] = attend


def attend(  # noqa: PLR0913, PLR0917 - the signature that mlx-lm's models call
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    cache: Any,
    scale: float,
    mask: Mask,
    sinks: mx.array | None = None,
) -> mx.array:
    """As mlx-lm's function of that name: (rows, query_heads, tokens, dim) -> the same with the values' dim."""
    if isinstance(cache, Attendant) and cache.is_fetched(keys, values):
        mixed = cache.attend(queries, scale, mask, sinks)
        if mixed is not None:
            return mixed
        keys, values = cache.fetched()
    return _dense_attention(queries, keys, values, cache=cache, scale=scale, mask=mask, sinks=sinks)
