"""Requests that killed engines, and may not do so again for a while."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

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
        self._kept: dict[bytes, _Sentence] = {}

    def __len__(self) -> int:
        """How many requests are refused at the moment."""
        now = self._clock()
        self._kept = {digest: sentence for digest, sentence in self._kept.items() if sentence.until > now}
        return len(self._kept)

    def add(self, digest: bytes, why: str) -> None:
        """Refuse requests of this digest from now on. `why` says how the last engine died."""
        self._kept[digest] = _Sentence(until=self._clock() + self._seconds, why=why)
        while len(self._kept) > MOST:
            del self._kept[next(iter(self._kept))]

    def check(self, digest: Callable[[], bytes]) -> None:
        """Raises Quarantined. The digest is made only where one is kept at all."""
        if not self._kept:
            return
        sentence = self._kept.get(digest())
        left = sentence.until - self._clock() if sentence else 0.0
        if sentence and left > 0:
            raise Quarantined(
                f"This very request killed the engine twice in a row, so it is refused for another {left:.0f} seconds. Change it, or "
                f"report it with the server's log. The last time: {sentence.why}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sentence:
    """By the clock; `why` is for people."""

    until: float
    why: str


def digest_of(prompt: Prompt) -> bytes:
    """Equal for requests that an engine cannot tell apart: all that it computes with, but the seed, which is new for each try."""
    neutral = replace(prompt, id="", caller="", priority="normal", answered_ids=(), sampling=replace(prompt.sampling, seed=None))
    return hashlib.sha256(msgspec.msgpack.encode(Add.of(neutral))).digest()


def digest_of_texts(texts: list[TextInput]) -> bytes:
    """Equal for equal texts."""
    return hashlib.sha256(msgspec.msgpack.encode(texts)).digest()
