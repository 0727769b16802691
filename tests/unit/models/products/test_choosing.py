"""Which weights become of quantised layers, and that they say the same."""

from collections.abc import Callable
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
import pytest

from pomona.models.products.choosing import Candidate, Signature, choose, choose_products
from pomona.models.products.layers import PackedLayer, TwoWayEmbedding, TwoWayLinear
from pomona.models.products.timing import ROWS, Costs, measure

ROOMY = 2**40
SLOW_FOR_MANY = Costs(packed=dict.fromkeys(ROWS, 1.0) | {1: 0.1, 2: 0.2, 4: 0.4}, expanded=dict.fromkeys(ROWS, 0.5))
NEVER_PACKED = Costs(packed=dict.fromkeys(ROWS, 1.0), expanded=dict.fromkeys(ROWS, 0.5))
ALWAYS_PACKED = Costs(packed=dict.fromkeys(ROWS, 0.2), expanded=dict.fromkeys(ROWS, 0.5))


class Small(nn.Module):
    """An embedding that is also the last layer, a layer with and one without a bias."""

    def __init__(self) -> None:
        super().__init__()
        mx.random.seed(3)
        self.embed = nn.Embedding(96, 64)
        self.up = nn.Linear(64, 128, bias=True)
        self.down = nn.Linear(128, 64, bias=False)

    def __call__(self, ids: mx.array) -> mx.array:
        return self.embed.as_linear(self.down(self.up(self.embed(ids))))


def quantised(bits: int = 4) -> Small:
    model = Small()
    nn.quantize(model, group_size=32, bits=bits)
    return model


def always(costs: Costs) -> Callable[[PackedLayer, mx.Dtype], Costs]:
    def time_of(_layer: PackedLayer, _dtype: mx.Dtype) -> Costs:
        return costs

    return time_of


@pytest.mark.parametrize("costs", [SLOW_FOR_MANY, NEVER_PACKED, ALWAYS_PACKED])
@pytest.mark.parametrize("bits", [4, 8])
def test_a_model_says_the_same_whatever_is_chosen(costs: Costs, bits: int) -> None:
    ids = mx.arange(40)[None]
    few, many = ids[:, :3], ids
    model = quantised(bits)
    before = [model(few), model(many)]
    changed = choose_products(model, "auto", ROOMY, always(costs))
    assert changed == (0 if costs is ALWAYS_PACKED else 3)
    for was, now in zip(before, [model(few), model(many)], strict=True):
        assert mx.allclose(was, now, rtol=1e-5, atol=1e-5)


def test_few_rows_go_through_the_packed_weight_and_many_through_the_expanded_one() -> None:
    model = quantised()
    choose_products(model, "auto", ROOMY, always(SLOW_FOR_MANY))
    assert isinstance(model.up, TwoWayLinear)
    assert isinstance(model.embed, TwoWayEmbedding)
    up = cast("Any", model.up)
    up.expanded = mx.zeros((128, 64))
    x = mx.random.normal((5, 64))
    few = [mx.abs(model.up(x[:rows])).max().item() for rows in (1, 4)]
    assert min(cast("list[float]", few)) > 0
    assert mx.allclose(model.up(x), mx.broadcast_to(up.bias, (5, 128)))


def test_nothing_packed_is_kept_where_all_is_to_be_expanded() -> None:
    model = quantised()
    assert choose_products(model, "expanded", ROOMY) == 3
    assert type(model.up) is nn.Linear
    assert type(model.embed) is nn.Embedding


def test_packed_changes_nothing() -> None:
    model = quantised()
    assert choose_products(model, "packed", ROOMY) == 0
    assert type(model.up) is nn.QuantizedLinear


def test_room_goes_to_the_layers_that_gain_most_per_byte() -> None:
    cheap, dear = (
        Candidate(name="a", signature=("a",), packed_bytes=10, expanded_bytes=40),
        Candidate(name="b", signature=("b",), packed_bytes=10, expanded_bytes=400),
    )
    costs: dict[Signature, Costs] = {("a",): SLOW_FOR_MANY, ("b",): SLOW_FOR_MANY}
    assert [one.name for one in choose([dear, cheap], costs, 1000)] == ["a", "b"]
    assert [one.name for one in choose([dear, cheap], costs, 400)] == ["a"]
    assert [one.name for one in choose([dear, cheap], costs, 39)] == []


def test_a_weight_that_is_not_kept_packed_needs_less_room() -> None:
    layer = Candidate(name="a", signature=("a",), packed_bytes=10, expanded_bytes=40)
    assert choose([layer], {("a",): NEVER_PACKED}, 30) == [layer]
    assert choose([layer], {("a",): SLOW_FOR_MANY}, 30) == []


def test_subclasses_with_rules_of_their_own_are_left_alone() -> None:
    class Special(nn.QuantizedLinear):
        pass

    model = quantised()
    vars_of = cast("Any", model)
    vars_of.up = Special(64, 128)
    choose_products(model, "expanded", ROOMY)
    assert type(model.up) is Special


def test_costs_are_measured_on_the_device_in_use() -> None:
    model = quantised()
    for layer in (model.up, model.embed):
        costs = measure(cast("Any", layer), mx.float32)
        assert set(costs.packed) == set(costs.expanded) == set(ROWS)
        assert all(seconds > 0 for seconds in (*costs.packed.values(), *costs.expanded.values()))
