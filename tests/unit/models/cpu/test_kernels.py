"""The C functions for encoders: what they compute at the edges, and what is refused before C sees it."""

import ctypes
from pathlib import Path
from typing import cast

import mlx.core as mx
import numpy as np
import pytest

from pomona.models.cpu.compiling import compiled_library
from pomona.models.cpu.kernels import Kernels, Spans
from pomona.models.encoders.batch import Batch, TextIds
from pomona.models.encoders.operations import Operations
from tests.golden.encoder_cases import Floats

CACHE = Path(__file__).parents[4] / ".pytest_cache"


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    path = compiled_library("encoder", "pomona_attend", CACHE)
    assert path is not None, "a C compiler works on every machine that runs the tests"
    return Kernels(ctypes.CDLL(str(path)))


def drawn(*shape: int, seed: int = 0, scale: float = 1.0) -> mx.array:
    return mx.random.normal(shape, key=mx.random.key(seed)) * scale


def numbers(array: mx.array) -> Floats:
    return cast("Floats", np.array(array))


def batch_of(*lengths: int) -> Batch:
    return Batch([TextIds(ids=[0] * length) for length in lengths])


@pytest.mark.parametrize("window", [None, 0, 1, 7, 40, 10**12])
@pytest.mark.parametrize(("heads", "size"), [(1, 1), (2, 6), (3, 32), (1, 70)])
def test_attention_of_any_shape_is_that_of_mlx(kernels: Kernels, heads: int, size: int, window: int | None) -> None:
    batch = batch_of(1, 33, 5, 64, 131)
    given = drawn(batch.count, 3 * heads * size)
    expected = numbers(Operations().attend(given, batch, heads, window))
    found = numbers(kernels.attend(given + 0, batch.spans, heads, window))
    assert np.abs(found - expected).max() < 1e-5


@pytest.mark.parametrize("tokens", [1, 9, 40])
@pytest.mark.parametrize("width", [1, 15, 16, 33])
def test_elementwise_functions_of_any_shape(kernels: Kernels, tokens: int, width: int) -> None:
    plain, x, residual = Operations(), drawn(tokens, width, scale=4), drawn(tokens, width, seed=1)
    weight, bias = drawn(width, seed=2), drawn(width, seed=3)
    assert np.allclose(numbers(kernels.gelu(x + 0)), numbers(plain.activation("gelu")(x)), atol=2e-6)
    gates = drawn(tokens, 2 * width, seed=4)
    assert np.allclose(numbers(kernels.gelu_gate(gates + 0)), numbers(plain.gate("gelu")(gates)), atol=4e-6)
    normed = mx.fast.layer_norm(x + residual, weight, bias, 1e-5)
    assert np.allclose(numbers(kernels.add_norm(x + 0, residual, weight, bias, 1e-5)), numbers(normed), atol=1e-4)


def test_arrays_that_c_would_read_past_are_refused(kernels: Kernels) -> None:
    x, spans = drawn(4, 24), Spans(starts=np.array([0], np.int32), lengths=np.array([4], np.int32))
    with pytest.raises(ValueError, match="row-major float32"):
        kernels.add_norm(x, drawn(3, 24), drawn(24), None, 1e-5)
    with pytest.raises(ValueError, match="row-major float32"):
        kernels.add_norm(x, drawn(4, 24), drawn(23), None, 1e-5)
    with pytest.raises(ValueError, match="row-major float32"):
        kernels.rotate(x, drawn(3, 2), drawn(4, 2), 2)
    with pytest.raises(ValueError, match="row-major float32"):
        kernels.attend(x, spans, 3, None)
    with pytest.raises(ValueError, match="float16"):
        kernels.gelu(x.astype(mx.float16))


@pytest.mark.parametrize(
    ("starts", "lengths"), [([0], [5]), ([0, 2], [1, 2]), ([], []), ([0, 4], [4, 0]), ([1], [3]), ([0, 6], [6, -2])], ids=str
)
def test_spans_that_do_not_fill_the_tokens_are_refused(kernels: Kernels, starts: list[int], lengths: list[int]) -> None:
    spans = Spans(starts=np.array(starts, np.int32), lengths=np.array(lengths, np.int32))
    with pytest.raises(ValueError, match="do not fill 4 tokens"):
        kernels.attend(drawn(4, 24), spans, 2, None)
