"""Pictures that were prepared before. A conversation sends all its pictures again with each turn."""

from collections import OrderedDict
from collections.abc import Hashable, Sequence

from pomona.core.messages import PreparedPicture

OVERHEAD_BYTES = 512
"""Of an entry, beside its pixels."""
_ID_BYTES = 8


class PictureCache:
    """What `key` became, the least recently used going first, within `max_bytes`. For one thread."""

    def __init__(self, max_bytes: int) -> None:
        self._limit = max_bytes
        self._kept: OrderedDict[Hashable, tuple[PreparedPicture, ...]] = OrderedDict()
        self._bytes = 0

    @property
    def nbytes(self) -> int:
        """Memory in use."""
        return self._bytes

    def find(self, key: Hashable) -> tuple[PreparedPicture, ...] | None:
        """What was kept under `key`."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def keep(self, key: Hashable, pictures: Sequence[PreparedPicture]) -> None:
        """Remember `pictures`, unless they alone are more than there is room for."""
        kept = tuple(pictures)
        size = _size(kept)
        if size > self._limit or key in self._kept:
            return
        self._kept[key] = kept
        self._bytes += size
        while self._bytes > self._limit:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= _size(dropped)


def _size(pictures: Sequence[PreparedPicture]) -> int:
    return OVERHEAD_BYTES + sum(len(each.pixels) + _ID_BYTES * len(each.token_ids) for each in pictures)
