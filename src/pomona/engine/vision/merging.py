"""Features in the places of picture tokens, for one pass."""

from collections.abc import Sequence as ReadOnlySequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from pomona.engine.vision.row import PicturedRow
from pomona.models.vision.towers.features import PictureFeatures


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """`index` (rows, tokens): 0 where a token is embedded as such, else 1 + the row of its feature in `features` joined."""

    index: mx.array
    features: list[PictureFeatures]

    def put(self, embeddings: mx.array, scale: float) -> mx.array:
        """(rows, tokens, width) with features, divided by `scale`, in their places."""
        joined = mx.concatenate([each.embeddings for each in self.features]).astype(embeddings.dtype)
        joined = joined if scale == 1.0 else joined / scale
        return mx.where((self.index > 0)[..., None], self._spread(joined), embeddings)

    def additions(self, dtype: mx.Dtype) -> tuple[mx.array, ...]:
        """(rows, tokens, width) for each of the first layers: zero where a token is no picture's."""
        levels = range(len(self.features[0].deep))
        return tuple(self._spread(mx.concatenate([each.deep[level] for each in self.features]).astype(dtype)) for level in levels)

    def _spread(self, joined: mx.array) -> mx.array:
        return mx.concatenate([mx.zeros((1, joined.shape[1]), joined.dtype), joined])[self.index]


def merge(rows: ReadOnlySequence[PicturedRow], starts: list[int], counts: list[int]) -> Merged | None:
    """What `counts[i]` tokens of `rows[i]` from `starts[i]` on need; None where no picture is among them."""
    index = np.zeros((len(rows), max(counts)), np.int32)
    features: list[PictureFeatures] = []
    end = 1
    for line, (row, start, count) in enumerate(zip(rows, starts, counts, strict=True)):
        if row.pictures is None:
            continue
        picture, rank = row.pictures.places(start, count)
        for number in np.unique(picture[picture >= 0]).tolist():
            found = row.pictures.features[number]
            here = picture == number
            index[line, : len(picture)][here] = end + rank[here]
            features.append(found)
            end += found.embeddings.shape[0]
    return Merged(mx.array(index), features) if features else None
