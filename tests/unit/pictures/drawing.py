"""Pictures and PDFs made on the spot, good ones and bombs."""

import io
import struct
import zlib
from functools import cache
from typing import Any, cast

import pypdfium2 as pdfium
from PIL import Image

from pomona.pictures.geometry.facts import TokenPattern, VisionFacts
from pomona.pictures.geometry.fitting import AreaSizing, CropSizing, FixedSizing, Sizing

RED, BLUE = (255, 0, 0), (0, 0, 255)
PNG_BEGINNING = b"\x89PNG\r\n\x1a\n"


@cache
def halves(width: int, height: int) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """`image` as a file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pdf(*pages: tuple[float, float]) -> bytes:
    """Blank pages of these sizes, in points."""
    document = pdfium.PdfDocument.new()
    for width, height in pages:
        cast("Any", document).new_page(width, height)
    stream = io.BytesIO()
    document.save(stream)
    document.close()
    return stream.getvalue()


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG that says it is of this size and has these chunks and nothing else."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return PNG_BEGINNING + b"".join(_chunk(name, data) for name, data in ((b"IHDR", head), *chunks, (b"IEND", b"")))


def packed_zeros(count: int) -> bytes:
    """So many zeros, packed a thousandfold."""
    return zlib.compress(bytes(count), 9)


def gif_bomb(width: int, height: int) -> bytes:
    """A GIF whose head promises a little and whose first picture is of this size."""
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6)
    return head + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00;"


def facts(sizing: Sizing | None = None, *, factor: int = 28, pad: int | None = None) -> VisionFacts:
    """Of a model that asks for pictures of this sizing: Qwen-VL's unless told otherwise."""
    sizing = sizing or AreaSizing(factor=factor, min_pixels=factor * factor, max_pixels=1280 * factor * factor)
    fixed = isinstance(sizing, FixedSizing | CropSizing)
    return VisionFacts(
        family="qwen_vl",
        placeholder="<|image_pad|>",
        surrounded="<|image_pad|>",
        placeholder_id=pad or 7,
        pattern=TokenPattern(token_id=pad or 7, factor=factor, count=9 if fixed else None),
        sizing=sizing,
        resample="bicubic",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        rescale=1 / 255,
        patch=factor // 2,
        merge=2,
    )


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
