"""Attention over pages, without copying them.

mlx-lm's models call `mlx_lm.models.base.scaled_dot_product_attention`; `install` puts a version there that knows `PagedLayer` and
chooses a way: kernels for one token per row (`paged.py`), `gather_mm` for ragged rows (`gathered.py`), else MLX's own attention
over the keys and values that the layer handed out.
"""

import sys
from collections.abc import Callable
from typing import Any, cast

import mlx.core as mx
from mlx_lm.models import base

from pomona.engine.attention.gathered import attend_gathered, suits
from pomona.engine.cache.layers import PagedLayer
from pomona.engine.cache.views import Mask

_dense_attention = cast("Callable[..., mx.array]", base.scaled_dot_product_attention)


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
    if isinstance(cache, PagedLayer) and cache.is_fetched(keys, values):
        mixed = cache.attend(queries, scale, mask, sinks)
        if mixed is not None:
            return mixed
        if cache.kernels is None and suits(cache, mask):
            return attend_gathered(queries, cache, scale, mask, sinks)
    return _dense_attention(queries, keys, values, cache=cache, scale=scale, mask=mask, sinks=sinks)
