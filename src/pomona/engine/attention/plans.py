"""Whether a chunk of a prompt goes through kernels of our own, or through MLX's attention over a copy of its keys.

On CUDA, MLX's attention over more than one token is cuDNN's. It is planned for each new shape on the host, 40 ms on an H200 (MLX keeps the
last 256 plans), and then an order of magnitude quicker than the kernels here, which are made for one token a row. So a shape goes through
these until they have cost about as much as a plan, which is made then: whatever comes, no shape costs more than twice what is best for it.

Shapes must come again for that. Long chunks end where those of all prompts end (`scheduling/sizes.py`). Short ones, which are read beside
rows that decode, would have a shape for each of their ends: they see so many keys that these are a multiple of 2,048, with a mask.
"""

from collections import OrderedDict

MOST_PAIRS = 3_000_000
"""Of a token and a key that it sees: through our kernels these take what a plan takes, by what whole prompts took on an H200."""
REMEMBERED = 192
"""Shapes. MLX forgets what it used least of 256, and here are not all that it plans."""
LONG = 1024
"""Tokens of a chunk. For longer ones keys that nobody sees would cost more than they spare."""
KEYS_STEP = 2048

Shape = tuple[int, int, int]
"""Rows, tokens of each, keys of each."""


def padded_keys(width: int, keys: int) -> int:
    """So many keys has a chunk of `width` tokens in MLX's attention that looks at `keys`."""
    return keys if width >= LONG else -(-keys // KEYS_STEP) * KEYS_STEP


class Plans:
    """The shapes of one model."""

    def __init__(self) -> None:
        self._pairs: OrderedDict[Shape, float] = OrderedDict()

    def pay(self, shape: Shape, pairs: float) -> bool:
        """Whether MLX's own attention is to take the chunk that comes now, which has so many `pairs`."""
        spent = self._pairs[shape] = self._pairs.pop(shape, 0.0) + pairs
        if len(self._pairs) > REMEMBERED:
            self._pairs.popitem(last=False)
        return spent > MOST_PAIRS
