"""Shared rotary tables against MLX's own operation."""

from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.models import rope_utils

from pomona.models.cpu.rotary import TableRoPE, share_rotary_tables

KINDS: dict[str, dict[str, Any]] = {
    "plain": {"dims": 16},
    "interleaved": {"dims": 16, "traditional": True},
    "partial": {"dims": 8},
    "linear": {"dims": 16, "scaling_config": {"rope_type": "linear", "factor": 4.0}},
    "llama3": {
        "dims": 16,
        "scaling_config": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 64, "low_freq_factor": 1.0},
    },
    "yarn": {"dims": 16, "scaling_config": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}},
}


class Layers(nn.Module):
    """A model with two layers that each hold a rotary embedding."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        options: dict[str, Any] = {"base": 10000.0, "traditional": False, "max_position_embeddings": 256, **KINDS[kind]}
        self.layers = [cast("nn.Module", cast("Any", rope_utils).initialize_rope(**options)) for _ in range(2)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("offsets", [0, 77, [3, 0, 90]], ids=str)
@pytest.mark.parametrize("tokens", [1, 9])
def test_rotates_as_mlx_does(kind: str, offsets: int | list[int], tokens: int) -> None:
    plain, tabled = Layers(kind), Layers(kind)
    share_rotary_tables(tabled)
    x = mx.random.normal((3, 2, tokens, 16), key=mx.random.key(0))
    offset = mx.array(offsets) if isinstance(offsets, list) else offsets
    for one, other in zip(plain.layers, tabled.layers, strict=True):
        assert isinstance(other, TableRoPE)
        np.testing.assert_allclose(np.array(cast("Any", other)(x, offset=offset)), np.array(cast("Any", one)(x, offset=offset)), atol=3e-5)


def test_tables_follow_the_positions() -> None:
    """Another offset, another number of tokens, an array after a number: never the tables of the call before."""
    model = Layers("plain")
    plain = Layers("plain").layers[0]
    share_rotary_tables(model)
    rope: Any = model.layers[0]
    x = mx.random.normal((2, 1, 4, 16), key=mx.random.key(1))
    for offset, tokens in [(0, 4), (5, 4), (5, 2), (mx.array([5, 5]), 2), (mx.array([5, 6]), 2), (5, 4)]:
        expected = cast("Any", plain)(x[:, :, :tokens], offset=offset)
        np.testing.assert_allclose(np.array(rope(x[:, :, :tokens], offset=offset)), np.array(expected), atol=3e-5)


def test_other_layers_are_left_alone() -> None:
    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.RMSNorm(4)

    model = Other()
    share_rotary_tables(model)
    assert type(model.norm) is nn.RMSNorm
