"""Messages between the gateway and the process that decodes: msgpack, each behind its length, over the process's pipes."""

from typing import IO

import msgspec

LENGTH_BYTES = 8


class Limits(msgspec.Struct, frozen=True):
    """What may be decoded. `side` is the longest side that is needed; more is decoded only where it costs nothing."""

    max_pixels: int
    max_pages: int
    side: int


class Job(msgspec.Struct, tag=True, frozen=True):
    """Gateway -> worker: a file, an image or a PDF. Answered by Opened or Refused."""

    source: bytes
    limits: Limits


class Opened(msgspec.Struct, tag=True, frozen=True):
    """Worker -> gateway: the (width, height) of each picture, upright. A PDF has one for each page."""

    sizes: list[tuple[int, int]]


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What to make of a picture: pad it to a square, resize it, cut it. Sizes are (width, height), boxes (left, top, right, bottom)."""

    resized: tuple[int, int]
    resample: str = "bicubic"
    crop: tuple[int, int, int, int] | None = None
    pad_color: tuple[int, int, int] | None = None


class Recipes(msgspec.Struct, tag=True, frozen=True):
    """Gateway -> worker: one recipe for each picture of Opened; none at all gives the job up. Answered by Pixels or Refused."""

    recipes: list[Recipe]


class Pixels(msgspec.Struct, tag=True, frozen=True):
    """Worker -> gateway: (height, width, 3) bytes each, RGB."""

    pictures: list[bytes]


class Refused(msgspec.Struct, tag=True, frozen=True):
    """Worker -> gateway: why it cannot be a picture, as the rest of a sentence that begins with its name."""

    reason: str


ToWorker = Job | Recipes
FromWorker = Opened | Pixels | Refused


def send(pipe: IO[bytes], message: ToWorker | FromWorker) -> None:
    """Write one message."""
    packed = msgspec.msgpack.encode(message)
    pipe.write(len(packed).to_bytes(LENGTH_BYTES, "big"))
    pipe.write(packed)
    pipe.flush()


def receive(pipe: IO[bytes]) -> bytes | None:
    """The next message, packed; None at the end of the stream."""
    head = pipe.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    length = int.from_bytes(head, "big")
    packed = pipe.read(length)
    return packed if len(packed) == length else None
