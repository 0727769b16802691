"""Finding equal beginnings: chained block hashes, and state snapshots for recurrent layers.

A block's hash covers all tokens up to its end, so one dictionary look-up per block finds the longest equal beginning
(as in vLLM's automatic prefix caching). BLAKE2b of 16 bytes: equal hashes mean equal tokens for every practical purpose.
"""

from array import array
from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Sequence as ReadOnlySequence
from hashlib import blake2b

from pomona.engine.states import RowState


def extend_hashes(
    hashes: list[bytes],
    token_ids: ReadOnlySequence[int],
    block_tokens: int,
    root: bytes = b"",
    content: Callable[[int, int], bytes] | None = None,
) -> None:
    """Append to `hashes` those of all further full blocks of `token_ids`. Rows of different `root` have no block in common.

    `content` is what else tells the tokens [start, end) of a row from equal ids.
    """
    parent = hashes[-1] if hashes else root
    for start in range(len(hashes) * block_tokens, len(token_ids) - block_tokens + 1, block_tokens):
        block = array("I", token_ids[start : start + block_tokens])
        also = content(start, start + block_tokens) if content else b""
        parent = blake2b(parent + block.tobytes() + also, digest_size=16).digest()
        hashes.append(parent)


class SnapshotStore:
    """Recurrent states at block boundaries, by block hash; least recently used ones go first when bytes run out."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._states: OrderedDict[bytes, RowState] = OrderedDict()
        self._bytes = 0

    def __contains__(self, block_hash: bytes) -> bool:
        return block_hash in self._states

    def __len__(self) -> int:
        return len(self._states)

    @property
    def nbytes(self) -> int:
        """Bytes of all snapshots."""
        return self._bytes

    def put(self, block_hash: bytes, state: RowState) -> None:
        """Keep `state`; a snapshot larger than the whole budget is not kept."""
        self.discard(block_hash)
        self._states[block_hash] = state
        self._bytes += state.nbytes
        while self._bytes > self._limit:
            _, oldest = self._states.popitem(last=False)
            self._bytes -= oldest.nbytes

    def get(self, block_hash: bytes) -> RowState:
        """The state, now the most recently used one. KeyError if it is not there."""
        self._states.move_to_end(block_hash)
        return self._states[block_hash]

    def clear(self) -> None:
        """Forget all."""
        self._states.clear()
        self._bytes = 0

    def discard(self, block_hash: bytes) -> None:
        """Forget one snapshot, if it is there."""
        state = self._states.pop(block_hash, None)
        if state is not None:
            self._bytes -= state.nbytes
