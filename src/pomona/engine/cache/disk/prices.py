"""Whether a piece of prompt comes sooner from disk or from computing it, as measured in this process."""

from collections import deque

READING = 1e9
"""Bytes a second, before anything was measured: a plain solid-state disk."""
START_SECONDS = 0.003
"""Of a look at the disk, whatever it finds."""
PATIENCE_SECONDS = 5.0
"""For the disk where it is not known how long computing lasts."""


class Prices:
    """Rates of reading and computing. The best of the last few is believed: others were slowed down by what ran beside."""

    def __init__(self) -> None:
        self._reading: deque[float] = deque(maxlen=8)
        self._computing: deque[float] = deque(maxlen=16)

    def note_reading(self, nbytes: int, seconds: float) -> None:
        """So many bytes were read."""
        self._reading.append(nbytes / max(seconds, 1e-6))

    def note_computing(self, tokens: int, seconds: float) -> None:
        """So many tokens of a prompt were computed."""
        self._computing.append(tokens / max(seconds, 1e-6))

    def pays(self, tokens: int, nbytes: int) -> bool:
        """Reading them takes less time than computing them."""
        return START_SECONDS + nbytes / max(self._reading, default=READING) < self.patience_seconds(tokens)

    def patience_seconds(self, tokens: int) -> float:
        """How long to wait for so many tokens from the disk: no longer than to compute them."""
        return tokens / max(self._computing) if self._computing else PATIENCE_SECONDS
