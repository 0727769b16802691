"""Layers that add what the adapters of a pass ask for.

A layer is taught once, by giving it a class of its own that calls the old one first. Names, weights and the model's structure stay as
they are, so the model's definition, which may look at `layer.weight`, notices nothing; where no row has an adapter, the layer does
just what it did. What the rows of the pass have is in the model's `Desk`: models that two engines share have one.
"""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchGLU, SwitchLinear, SwitchMLP

from pomona.engine.adapters.selection import Choice
from pomona.engine.adapters.terms import Term

_DESK = "_adapter_desk"


class Desk:
    """Where the pass that is being built leaves its choice for the layers."""

    def __init__(self) -> None:
        self.choice: Choice | None = None

    def term(self, name: str) -> tuple[Choice, Term] | None:
        """What the layer `name` has to add in this pass."""
        if self.choice is None or name not in self.choice.terms:
            return None
        self.choice.used.add(name)
        return self.choice, self.choice.terms[name]


def desk_of(model: nn.Module) -> Desk:
    """That of `model`, made at the first call."""
    desk = vars(model).get(_DESK)
    if not isinstance(desk, Desk):
        desk = Desk()
        object.__setattr__(model, _DESK, desk)  # past nn.Module's own, which would see no weight in it either
    return desk


def teach(model: nn.Module, names: Iterable[str]) -> None:
    """Let the layers `names` of `model`, and what sorts tokens for experts among them, ask the desk. Does nothing the second time."""
    modules = dict(cast("list[tuple[str, nn.Module]]", model.named_modules()))
    for name in names:
        layer, parent = modules[name], modules.get(name.rpartition(".")[0])
        _teach_one(layer, name, desk_of(model))
        if isinstance(layer, SwitchLinear | QuantizedSwitchLinear) and isinstance(parent, SwitchGLU | SwitchMLP):
            _teach_one(parent, name, desk_of(model))


def _teach_one(module: nn.Module, name: str, desk: Desk) -> None:
    if isinstance(module, _Taught):
        return
    object.__setattr__(module, "__class__", _taught(type(module)))
    object.__setattr__(module, "taught_name", name)
    object.__setattr__(module, "taught_desk", desk)


class _Taught:
    """A layer that knows its name and where to ask."""

    taught_name: str
    taught_desk: Desk

    def taught_add(self, y: mx.array, more: Callable[[Choice, Term], mx.array]) -> mx.array:
        """`y`, which the layer makes by itself, and what it has to add in this pass."""
        found = self.taught_desk.term(self.taught_name)
        return y if found is None else y + more(*found).astype(y.dtype)


@cache
def _taught(kind: type[nn.Module]) -> type[nn.Module]:
    if issubclass(kind, SwitchGLU | SwitchMLP):
        added: type = _Experts
    elif issubclass(kind, SwitchLinear | QuantizedSwitchLinear):
        added = _SwitchLinear
    elif issubclass(kind, nn.Embedding | nn.QuantizedEmbedding):
        added = _Embedding
    else:
        added = _Linear
    return cast("type[nn.Module]", type(kind.__name__, (added, kind), {}))


class _Linear(_Taught):
    def __call__(self, x: mx.array) -> mx.array:
        y = cast("mx.array", cast("Any", super()).__call__(x))
        found = self.taught_desk.term(self.taught_name)
        if found is None:
            return y
        choice, term = found
        more = (choice.masked(term.owners, x @ term.down) @ term.up).astype(y.dtype)
        gain = choice.gain(term, y)
        if gain is None:
            return y + more
        layer = cast("Any", self)
        own = y - layer["bias"] if "bias" in layer else y  # DoRA's magnitude is the weight's, not the bias's
        return y + more + gain.astype(y.dtype) * own


class _Embedding(_Taught):
    def __call__(self, x: mx.array) -> mx.array:
        y = cast("mx.array", cast("Any", super()).__call__(x))
        return self.taught_add(y, lambda choice, term: choice.masked(term.owners, term.down[x]) @ term.up)

    def as_linear(self, x: mx.array) -> mx.array:
        y = cast("mx.array", cast("Any", super()).as_linear(x))
        return self.taught_add(y, lambda choice, term: choice.masked(term.tied_owners, x @ term.up.T) @ term.down.T)


class _SwitchLinear(_Taught):
    def __call__(self, x: mx.array, indices: mx.array, sorted_indices: bool = False) -> mx.array:
        y = cast("mx.array", cast("Any", super()).__call__(x, indices, sorted_indices=sorted_indices))

        def more(choice: Choice, term: Term) -> mx.array:
            wide = x.astype(term.down.dtype)
            inner = mx.gather_mm(wide, term.down, rhs_indices=indices, sorted_indices=sorted_indices)
            inner = choice.masked(term.owners, inner, by_entry=sorted_indices)
            return mx.gather_mm(inner, term.up, rhs_indices=indices, sorted_indices=sorted_indices)

        return self.taught_add(y, more)


class _Experts(_Taught):
    def __call__(self, x: mx.array, indices: mx.array) -> mx.array:
        choice = self.taught_desk.choice
        if choice is None:
            return cast("mx.array", cast("Any", super()).__call__(x, indices))
        choice.enter(indices)
        try:
            return cast("mx.array", cast("Any", super()).__call__(x, indices))
        finally:
            choice.leave()
