"""GGUF's packed formats give the same values in MLX's form, as the library `gguf` reads them."""

import importlib
from typing import Any, cast

import mlx.core as mx
import numpy as np
import pytest
from numpy.typing import NDArray

from pomona.models.convert.gguf.blocks import bits_for, repack

GGUF = cast("Any", importlib.import_module("gguf"))
KINDS = {"Q4_0": 18, "Q4_1": 20, "Q5_0": 22, "Q5_1": 24, "Q8_0": 34, "Q4_K": 144, "Q5_K": 176}
"""Type -> bytes of a block."""
ROWS, BLOCKS = 6, 3


@pytest.mark.parametrize("kind", KINDS)
def test_integers_are_taken_over_as_they_are(kind: str) -> None:
    data = blocks(kind)
    expected = GGUF.quants.dequantize(data, GGUF.GGMLQuantizationType[kind])

    packed = repack(data, kind, mx.float32)

    assert packed is not None
    values = mx.dequantize(packed.weight, packed.scales, packed.biases, group_size=32, bits=packed.bits)
    assert mx.array_equal(values, mx.array(expected)).item()


def test_scales_have_the_type_of_the_model() -> None:
    packed = repack(blocks("Q4_K"), "Q4_K", mx.bfloat16)

    assert packed is not None
    assert (packed.weight.dtype, packed.scales.dtype, packed.biases.dtype) == (mx.uint32, mx.bfloat16, mx.bfloat16)


@pytest.mark.parametrize("kind", ["Q6_K", "Q3_K", "Q2_K", "IQ4_NL", "IQ4_XS"])
def test_formats_without_an_equal_get_more_bits(kind: str) -> None:
    assert repack(np.zeros((1, 1), np.uint8), kind, mx.float32) is None
    assert bits_for(kind) > int(kind.strip("IQ")[0])


def blocks(kind: str) -> NDArray[np.uint8]:
    """Rows of random blocks whose 16-bit scales are small numbers."""
    data = np.random.default_rng(len(kind)).integers(0, 256, size=(ROWS, BLOCKS, KINDS[kind]), dtype=np.uint8)
    floats = 4 if kind in {"Q4_1", "Q5_1", "Q4_K", "Q5_K"} else 2
    scales = np.random.default_rng(1).uniform(0.01, 2, size=(ROWS, BLOCKS, floats // 2)).astype(np.float16)
    data[:, :, :floats] = scales.view(np.uint8).reshape(ROWS, BLOCKS, floats)
    return data.reshape(ROWS, -1)
