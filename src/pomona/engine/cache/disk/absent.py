"""An engine without a disk tier."""

from collections.abc import Iterable
from typing import TypedDict

from pomona.engine.sequence import Sequence


class DiskCounts(TypedDict, total=False):
    """As in `EngineCounters`."""

    disk_files: int
    disk_bytes: int
    disk_blocks_read: int
    disk_bytes_read: int
    disk_blocks_written: int
    disk_bytes_written: int


class NoDisk:
    """Finds nothing and keeps nothing. The methods are those of `DiskTier`, which says more of each."""

    @property
    def has_work(self) -> bool:
        """Something would get further by `advance`."""
        return False

    def expect(self, row: Sequence) -> None:
        """A new row."""

    def recall(self, row: Sequence) -> None:
        """A row that comes back, and has lost its pages."""

    def forget(self, row: Sequence) -> None:
        """The row ends."""

    def advance(self, *, busy: bool) -> None:
        """Before each step."""

    def wait(self, seconds: float) -> None:
        """For the disk, at most so long."""

    def held_pages(self, group: int) -> Iterable[int]:
        """Pages of that group that are held for rows which wait."""
        del group
        return ()

    def counts(self) -> DiskCounts:
        """For `EngineCounters`."""
        return {}

    def clear(self) -> None:
        """Forget all that is on disk of this model."""

    def close(self) -> None:
        """Put the rest on disk, within a few seconds."""
