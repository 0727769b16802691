"""What decides over the content of a page, and so over who may use it: the name of a folder."""

import json
import sys
from collections.abc import Mapping
from hashlib import blake2b
from importlib.metadata import version as installed

import mlx.core as mx

from pomona.engine.cache.model_cache import ModelCache

FORMAT = 1
"""Of the files. A higher one finds nothing of a lower one."""


def facts_of(cache: ModelCache, model: Mapping[str, object]) -> dict[str, object]:
    """`model` (its weights, as `fingerprint_weights` tells them, and their type in memory), and what the engine adds: where and by which
    MLX pages are computed, how many tokens they hold, kinds, shapes and types of all that layers keep, in order.
    """
    return {
        **model,
        "format": FORMAT,
        "device": f"{sys.platform} {mx.default_device().type.name}",
        "mlx": [installed(name).rpartition(".")[0] for name in ("mlx", "mlx-lm")],
        "page_tokens": cache.page_tokens,
        "layers": [
            [
                group.window,
                group.sight.sinks,
                *([_arrays(pool.arrays) for layer in group.layers for pool in (layer.key_pool, layer.value_pool)]),
            ]
            for group in cache.groups
        ],
        "states": [_arrays(layer) for layer in cache.zero_state.arrays] if cache.zero_state else [],
    }


def version_of(facts: Mapping[str, object]) -> str:
    """32 hexadecimal digits."""
    return blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16).hexdigest()


def _arrays(arrays: tuple[mx.array, ...]) -> list[list[object]]:
    return [[str(array.dtype), array.shape[0], *array.shape[2:]] for array in arrays]
