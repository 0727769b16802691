"""From what a model asks of pictures and what the settings allow to what is done with one picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from pomona.core.errors import PictureRefused
from pomona.core.settings import PicturesSettings
from pomona.pictures.decoding.protocol import Recipe
from pomona.pictures.geometry.facts import Detail, VisionFacts, fit
from pomona.pictures.geometry.fitting import Fit

GIGABYTE = 2**30
TIERS = ((60, 1024), (30, 768))
"""(least memory in GiB, longest side): machines of 64 and 32 GB report a little less."""
SMALLEST_TIER = 512
LOW_DETAIL_SIDE = 512


def longest_side(settings: PicturesSettings, memory_bytes: int | None = None) -> int:
    """Pixels that the longer side of a picture may have, of this machine or of one with `memory_bytes`."""
    if settings.max_side is not None:
        return settings.max_side
    gigabytes = (psutil.virtual_memory().total if memory_bytes is None else memory_bytes) / GIGABYTE
    return next((side for least, side in TIERS if gigabytes >= least), SMALLEST_TIER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """How pictures are brought to the size that one model takes. Two that are equal make equal pictures."""

    vision: VisionFacts
    side: int
    detail: Detail
    max_pixels: int

    def recipes(self, sizes: Sequence[tuple[int, int]]) -> list[Recipe]:
        """One for each (width, height). Raises PictureRefused for a shape that the model cannot take."""
        return [self.recipe(width, height) for width, height in sizes]

    def recipe(self, width: int, height: int) -> Recipe:
        """The model's own rule; where its outcome is longer than `side`, the rule for a picture of that side."""
        fitted = fit(self.vision, width, height, self.detail)
        side = min(self.side, LOW_DETAIL_SIDE) if self.detail == "low" else self.side
        longest = max(fitted.width, fitted.height)
        if longest > side:
            shrink = side / max(width, height)
            if shrink < 1:
                fitted = fit(self.vision, max(1, round(width * shrink)), max(1, round(height * shrink)), self.detail)
        self._check(fitted, width, height)
        return Recipe(resized=fitted.resized, resample=self.vision.resample, crop=fitted.crop, pad_color=fitted.pad_color)

    def _check(self, fitted: Fit, width: int, height: int) -> None:
        padded = max(width, height) ** 2 if fitted.pad_color is not None else 0
        if max(padded, fitted.resized[0] * fitted.resized[1]) > self.max_pixels:
            raise PictureRefused(f"has {width} x {height} pixels, too narrow for this model. Cut it")
