"""Sizes: how a picture of any size becomes one that a vision part takes. Each rule is that of a transformers image processor."""

import math
from dataclasses import dataclass
from typing import Protocol

from pomona.core.errors import PictureRefused

WIDEST_RATIO = 200
"""Of the sides, in Qwen's rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Three steps, each may be absent: pad to a square with `pad_color` (picture in the middle, odd pixels right and below), resize to
    `resized`, cut out `crop`.
    """

    resized: tuple[int, int]
    """(width, height)."""
    crop: tuple[int, int, int, int] | None = None
    """(left, top, right, bottom) after resizing."""
    pad_color: tuple[int, int, int] | None = None

    @property
    def width(self) -> int:
        """Pixels at the end."""
        return self.crop[2] - self.crop[0] if self.crop else self.resized[0]

    @property
    def height(self) -> int:
        """Pixels at the end."""
        return self.crop[3] - self.crop[1] if self.crop else self.resized[1]


class Sizing(Protocol):
    """A rule for sizes."""

    def fit(self, width: int, height: int, most_pixels: int | None) -> Fit:
        """For a picture of `width` x `height`, with `most_pixels` at the end where the rule leaves a choice. Raises PictureRefused."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaSizing:
    """Qwen-VL: sides are multiples of `factor`, the area is in bounds, the aspect ratio about kept."""

    factor: int
    min_pixels: int
    max_pixels: int

    def fit(self, width: int, height: int, most_pixels: int | None) -> Fit:
        """As `smart_resize`."""
        if max(width, height) > WIDEST_RATIO * min(width, height):
            raise PictureRefused(
                f"A picture of {width} x {height} pixels is too narrow for this model: one side may be at most {WIDEST_RATIO} times the "
                "other. Cut it."
            )
        factor, most = self.factor, min(self.max_pixels, most_pixels or self.max_pixels)
        new_width, new_height = round(width / factor) * factor, round(height / factor) * factor
        if new_width * new_height > most:
            shrink = math.sqrt(width * height / most)
            new_width = max(factor, math.floor(width / shrink / factor) * factor)
            new_height = max(factor, math.floor(height / shrink / factor) * factor)
        elif new_width * new_height < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (width * height))
            new_width, new_height = math.ceil(width * grow / factor) * factor, math.ceil(height * grow / factor) * factor
        return Fit(resized=(new_width, new_height))


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSizing:
    """Pixtral: the longer side is at most `longest`, then both are rounded up to multiples of `factor`."""

    factor: int
    longest: int

    def fit(self, width: int, height: int, most_pixels: int | None) -> Fit:
        """As `PixtralImageProcessor`."""
        longest = min(self.longest, math.isqrt(most_pixels)) if most_pixels else self.longest
        ratio = max(width, height) / longest
        if ratio > 1:
            width, height = max(1, math.floor(width / ratio)), max(1, math.floor(height / ratio))
        return Fit(resized=(-(-width // self.factor) * self.factor, -(-height // self.factor) * self.factor))


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedSizing:
    """Every picture is stretched to one size (SigLIP, Gemma 3)."""

    width: int
    height: int
    pad_color: tuple[int, int, int] | None = None

    def fit(self, width: int, height: int, most_pixels: int | None) -> Fit:
        """The same for all."""
        del most_pixels
        return Fit(resized=(self.width, self.height), pad_color=self.pad_color if width != height else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CropSizing:
    """CLIP: the shorter side becomes `shortest`, then the middle is cut out."""

    shortest: int
    width: int
    height: int
    pad_color: tuple[int, int, int] | None = None

    def fit(self, width: int, height: int, most_pixels: int | None) -> Fit:
        """As `CLIPImageProcessor`, or, with `pad_color`, as `LlavaImageProcessor`."""
        del most_pixels
        if self.pad_color is not None:
            color, width, height = self.pad_color if width != height else None, max(width, height), max(width, height)
        else:
            color = None
        long = int(self.shortest * max(width, height) / min(width, height))
        resized = (self.shortest, long) if width <= height else (long, self.shortest)
        left, top = (resized[0] - self.width) // 2, (resized[1] - self.height) // 2
        crop = (left, top, left + self.width, top + self.height)
        return Fit(resized=resized, crop=None if crop == (0, 0, *resized) else crop, pad_color=color)
