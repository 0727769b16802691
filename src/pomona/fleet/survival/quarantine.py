"""Requests that killed engines, and may not do so again for a while."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace

import msgspec

from pomona.core.errors import Quarantined
from pomona.core.generation import Prompt
from pomona.engine.protocol import Add, TextInput

MOST = 1024
"""Kept digests of one model; the oldest go first."""


class Quarantine:
    """One model's, for as long as Pomona runs. Only digests are kept, not what was asked."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until: dict[bytes, float] = {}

    def __len__(self) -> int:
        """How many requests are refused at the moment."""
        now = self._clock()
        self._until = {digest: until for digest, until in self._until.items() if until > now}
        return len(self._until)

    def add(self, digest: bytes) -> None:
        """Refuse requests of this digest from now on."""
        self._until[digest] = self._clock() + self._seconds
        while len(self._until) > MOST:
            del self._until[next(iter(self._until))]

    def check(self, digest: Callable[[], bytes]) -> None:
        """Raises Quarantined. The digest is made only where one is kept at all."""
        if not self._until:
            return
        left = self._until.get(digest(), 0.0) - self._clock()
        if left > 0:
            raise Quarantined(
                f"This very request killed the engine twice in a row, so it is refused for another {left:.0f} seconds. Change it, or "
                "report it with the server's log."
            )


def digest_of(prompt: Prompt) -> bytes:
    """Equal for requests that an engine cannot tell apart: all that it computes with, but the seed, which is new for each try."""
    neutral = replace(prompt, id="", caller="", priority="normal", answered_ids=(), sampling=replace(prompt.sampling, seed=None))
    return hashlib.sha256(msgspec.msgpack.encode(Add.of(neutral))).digest()


def digest_of_texts(texts: list[TextInput]) -> bytes:
    """Equal for equal texts."""
    return hashlib.sha256(msgspec.msgpack.encode(texts)).digest()
