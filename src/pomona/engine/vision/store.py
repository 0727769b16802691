"""Features by content: what a picture's digest stands for, as long as there is room."""

from collections import OrderedDict

from pomona.models.vision.towers.features import PictureFeatures


class FeatureStore:
    """The least recently used ones go first when `limit_bytes` run out."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._kept: OrderedDict[bytes, PictureFeatures] = OrderedDict()
        self.nbytes = 0
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, digest: bytes) -> PictureFeatures | None:
        """The features of a picture, now the most recently used ones."""
        found = self._kept.get(digest)
        if found is not None:
            self._kept.move_to_end(digest)
            self.hits += 1
        return found

    def put(self, digest: bytes, features: PictureFeatures) -> None:
        """Keep what was just made; features larger than the whole room are not kept."""
        self.misses += 1
        if digest in self._kept or features.nbytes > self._limit:
            return
        self._kept[digest] = features
        self.nbytes += features.nbytes
        while self.nbytes > self._limit:
            _, oldest = self._kept.popitem(last=False)
            self.nbytes -= oldest.nbytes
