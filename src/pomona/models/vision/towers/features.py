"""What a tower makes of a picture."""

from dataclasses import dataclass
from typing import Protocol

import mlx.core as mx


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PictureFeatures:
    """One row per picture token, in order."""

    embeddings: mx.array
    """(tokens, width of the language part): what stands in the place of the picture tokens' embeddings."""
    deep: tuple[mx.array, ...] = ()
    """Of the same shape each: added at those places behind the first layers of the language part, one for each layer."""

    @property
    def arrays(self) -> list[mx.array]:
        """All of them."""
        return [self.embeddings, *self.deep]

    @property
    def nbytes(self) -> int:
        """Bytes of all of them."""
        return sum(array.nbytes for array in self.arrays)


class Tower(Protocol):
    """A vision part with its projector."""

    def encode(self, pixels: mx.array) -> PictureFeatures:
        """Features of one picture (height, width, 3), normalised float32, of a size that the tower takes. Nothing is computed yet."""
        ...
