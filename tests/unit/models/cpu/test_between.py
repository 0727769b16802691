"""Activations and norms by C functions, beside MLX's own."""

import sys
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.models import activations, llama

from pomona.models.cpu.between import quicken


@pytest.fixture(scope="module", autouse=True)
def quick() -> None:
    quicken(nn.Module())
    assert vars(llama)["swiglu"] is vars(activations)["swiglu"]


def silu(x: mx.array) -> mx.array:
    return cast("mx.array", cast("Any", nn).silu(x))


def swiglu(gate: mx.array, x: mx.array) -> mx.array:
    return cast("Any", activations).swiglu(gate, x)


@pytest.mark.parametrize("shape", [(1, 8), (3, 5, 24), (1000, 264), (1, 1, 8192 * 40)])
def test_it_is_silu_of_one_times_the_other(shape: tuple[int, ...]) -> None:
    source = np.random.default_rng(1)
    gate, x = (mx.array(source.normal(size=shape).astype(np.float32) * 20) for _ in range(2))
    assert mx.allclose(swiglu(gate, x), silu(gate) * x, rtol=1e-6, atol=1e-6)


def test_the_ends_of_the_numbers() -> None:
    gate = mx.array([0.0, -0.0, 1e38, -1e38, 88.0, -88.0, -1e-30, 1e-30])
    got = swiglu(gate, mx.ones(8))
    assert mx.allclose(got, mx.array([0.0, 0.0, 1e38, 0.0, 88.0, 0.0, -5e-31, 5e-31]), atol=1e-36)


@pytest.mark.parametrize("gate", [mx.zeros((3, 3)), mx.zeros((2, 8), dtype=mx.bfloat16)])
def test_other_shapes_and_types_go_as_before(gate: mx.array) -> None:
    got = swiglu(gate + 2, mx.ones_like(gate))
    assert got.dtype == gate.dtype
    assert mx.allclose(got, silu(gate + 2), rtol=1e-2)


def test_its_gradient_is_that_of_silu() -> None:
    source = np.random.default_rng(2)
    gate, x = (mx.array(source.normal(size=(4, 16)).astype(np.float32)) for _ in range(2))

    def wanted(gate: mx.array, x: mx.array) -> mx.array:
        return mx.square(silu(gate) * x).sum()

    def got(gate: mx.array, x: mx.array) -> mx.array:
        return mx.square(swiglu(gate, x)).sum()

    for one, other in zip(mx.grad(got, argnums=(0, 1))(gate, x), mx.grad(wanted, argnums=(0, 1))(gate, x), strict=True):
        assert mx.allclose(one, other, atol=1e-5)


def test_it_can_be_part_of_a_compiled_function() -> None:
    def more(gate: mx.array, x: mx.array) -> mx.array:
        return swiglu(gate, x) + 1

    compiled = mx.compile(more)
    for seed in range(3):
        gate = mx.random.normal((5, 16), key=mx.random.key(seed))
        assert mx.allclose(compiled(gate, gate), silu(gate) * gate + 1, atol=1e-5)


def called(width: int) -> tuple[nn.RMSNorm, nn.RMSNorm]:
    """A norm, and what becomes of one with the same weights."""
    norm, model = nn.RMSNorm(width, eps=1e-5), cast("Any", nn.Sequential)(nn.RMSNorm(width, eps=1e-5))
    norm.weight = model.layers[0].weight = mx.random.normal((width,), key=mx.random.key(7))
    mx.eval(norm.weight)
    quicken(model)
    return norm, model.layers[0]


@pytest.mark.parametrize("shape", [(1, 8), (3, 5, 24), (700, 384), (2, 6, 9, 72)])
def test_a_norm_is_the_same_norm(shape: tuple[int, ...]) -> None:
    norm, quick = called(shape[-1])
    assert sys.platform != "linux" or type(quick) is not nn.RMSNorm
    x = mx.random.normal(shape, key=mx.random.key(1)) * 30
    assert mx.allclose(quick(x), norm(x), rtol=1e-5, atol=1e-5)
    assert not mx.any(quick(mx.zeros(shape)))
    assert quick(x.astype(mx.bfloat16)).dtype == norm(x.astype(mx.bfloat16)).dtype
    assert [*cast("Any", quick).parameters()] == [*cast("Any", norm).parameters()]


def test_a_norm_follows_its_weight_and_has_its_gradients() -> None:
    norm, quick = called(16)
    x = mx.random.normal((5, 16), key=mx.random.key(2))

    def gradients(layer: nn.RMSNorm, given: mx.array) -> list[mx.array]:
        def loss(weight: mx.array, x: mx.array) -> mx.array:
            layer.weight = weight
            return mx.square(layer(x)).sum()

        return [*mx.grad(loss, argnums=(0, 1))(given, x)]

    weight = norm.weight
    for given in (weight, weight * 2):
        for got, wanted in zip(gradients(quick, given), gradients(norm, given), strict=True):
            assert mx.allclose(got, wanted, rtol=1e-4, atol=1e-4)
    norm.weight = quick.weight = weight * 3
    assert mx.allclose(quick(x), norm(x), atol=1e-5)


def test_a_norm_that_nobody_has_leaves_its_place() -> None:
    kinds = {type(called(8)[1]) for _ in range(3000)}
    assert sys.platform != "linux" or nn.RMSNorm not in kinds
