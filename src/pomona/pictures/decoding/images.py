"""Images by Pillow: upright, RGB, one frame."""

import io
import struct
import warnings
import zlib

from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ExifTags import Base

from pomona.pictures.decoding.protocol import Limits, Recipe

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
NAMES = "JPEG, PNG, WebP, BMP, GIF (its first picture)"
_SIDEWAYS = frozenset({5, 6, 7, 8})
_WHITE = (255, 255, 255, 255)
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
_SPARE = 2
"""A JPEG is decoded at a smaller scale where that leaves this many times the side that is needed."""
DAMAGE = (OSError, SyntaxError, ValueError, ArithmeticError, LookupError, TypeError, EOFError, struct.error, zlib.error, AttributeError)
"""What Pillow's readers raise for damaged files. UnidentifiedImageError is an OSError."""


class Unreadable(Exception):
    """Why a file is no picture, as the rest of a sentence that begins with its name."""


class OpenImage:
    """An image that has been decoded. Raises Unreadable."""

    def __init__(self, source: bytes, limits: Limits) -> None:
        Image.MAX_IMAGE_PIXELS = limits.max_pixels
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            self._image, self.size = _open(source, limits)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise Unreadable(
                f"has more than {limits.max_pixels:,} pixels, the most that one picture may have here (pictures.max_pixels)"
            ) from None
        except UnidentifiedImageError:
            raise Unreadable(f"is no picture that can be read here: {NAMES}, or a PDF") from None
        except DAMAGE as error:
            raise Unreadable(f"is damaged: {describe(error)}") from None

    def pixels(self, recipe: Recipe) -> bytes:
        """RGB bytes of what `recipe` makes of it."""
        return cooked(self._image, recipe)


def cooked(image: Image.Image, recipe: Recipe) -> bytes:
    """RGB bytes of what `recipe` makes of an RGB image."""
    if recipe.pad_color is not None:
        image = _squared(image, recipe.pad_color)
    if image.size != recipe.resized:
        image = image.resize(recipe.resized, _RESAMPLING[recipe.resample])
    if recipe.crop is not None:
        image = image.crop(recipe.crop)
    return image.tobytes()


def describe(error: BaseException) -> str:
    """`error` in a few words."""
    return " ".join(str(error).split())[:120].rstrip(".") or type(error).__name__


def _open(source: bytes, limits: Limits) -> tuple[Image.Image, tuple[int, int]]:
    """The upright RGB image, perhaps smaller than it is, and its size. The header is judged before anything is decoded."""
    image = Image.open(io.BytesIO(source), formats=FORMATS)
    width, height = image.size
    if width * height > limits.max_pixels:
        raise Image.DecompressionBombError
    if image.format in ("JPEG", "MPO"):  # MPO is the JPEG of cameras that store a second view behind the first
        image.draft("RGB", (limits.side * _SPARE, limits.side * _SPARE))
    image.load()
    sideways = image.getexif().get(Base.Orientation) in _SIDEWAYS
    upright = ImageOps.exif_transpose(image)
    return _as_rgb(upright), (height, width) if sideways else (width, height)


def _as_rgb(image: Image.Image) -> Image.Image:
    """What is transparent shows white; 16 bits a channel become 8."""
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value * (1 / 257)).convert("L")
    elif image.mode in ("I", "F"):
        image = image.point(lambda value: value * (1 / 257) + 0.0).convert("L")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        clear = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", clear.size, _WHITE), clear).convert("RGB")
    return image.convert("RGB")


def _squared(image: Image.Image, color: tuple[int, int, int]) -> Image.Image:
    """In the middle of a square; an odd pixel goes right or below, as in transformers."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), color)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square
