"""The state that recurrent layers keep of a row instead of positions."""

from collections.abc import Sequence as ReadOnlySequence
from dataclasses import dataclass

import mlx.core as mx


@dataclass(slots=True, frozen=True)
class RowState:
    """The recurrent state of one row: row `index` of arrays (rows, ...) that a whole batch may share."""

    arrays: tuple[tuple[mx.array, ...], ...]
    index: int

    @property
    def nbytes(self) -> int:
        """Bytes of this row alone."""
        return sum(array.nbytes // array.shape[0] for layer in self.arrays for array in layer)

    def alone(self) -> "RowState":
        """The same state in arrays of its own."""
        if self.arrays and self.arrays[0][0].shape[0] == 1:
            return self
        return RowState(tuple(tuple(mx.contiguous(a[self.index : self.index + 1]) for a in layer) for layer in self.arrays), 0)


def stack_states(states: ReadOnlySequence[RowState]) -> tuple[tuple[mx.array, ...], ...]:
    """Arrays (rows, ...) for a batch; no copy if the rows already are one batch in this order."""
    first = states[0].arrays
    if all(state.arrays is first and state.index == i for i, state in enumerate(states)) and first[0][0].shape[0] == len(states):
        return first
    lone = [state.alone() for state in states]
    return tuple(
        tuple(mx.concatenate([state.arrays[layer][entry] for state in lone]) for entry in range(len(arrays)))
        for layer, arrays in enumerate(first)
    )
