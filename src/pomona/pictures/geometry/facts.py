"""What a model's vision part asks of pictures, and what takes a picture's place in a prompt."""

from dataclasses import dataclass
from typing import Literal

from pomona.pictures.geometry.fitting import Fit, Sizing

VisionFamily = Literal["qwen_vl", "gemma3", "llava", "pixtral"]
Detail = Literal["auto", "low", "high"]
LOW_DETAIL_PIXELS = 512 * 512
"""What `detail: low` leaves of a picture, where the model takes pictures of any size (OpenAI's figure)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPattern:
    """The ids that stand for one picture: `before`, its features row by row, `after`."""

    token_id: int
    count: int | None = None
    """Features of every picture; None: one for each square of `factor` pixels."""
    factor: int = 1
    row_end: int | None = None
    """Between two rows of squares."""
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    def ids(self, width: int, height: int) -> tuple[int, ...]:
        """Those of a picture of this size, in pixels, after fitting."""
        if self.count is not None:
            return (*self.before, *(self.token_id,) * self.count, *self.after)
        columns, rows = width // self.factor, height // self.factor
        row = (self.token_id,) * columns
        if self.row_end is None:
            return (*self.before, *row * rows, *self.after)
        return (*self.before, *(*row, self.row_end) * (rows - 1), *row, *self.after)


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionFacts:
    """Read from a model folder by `reading.read_vision_facts`.

    A prompt with pictures is made in four steps. The chat template writes `placeholder` for each picture; in the text each becomes
    `surrounded`; the text is tokenised, which makes one `placeholder_id` of each; each of those becomes `expansion(...)`.
    """

    family: VisionFamily
    placeholder: str
    surrounded: str
    placeholder_id: int
    pattern: TokenPattern
    sizing: Sizing
    resample: Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    """A channel goes in as (value * rescale - mean) / std."""
    rescale: float
    patch: int
    """Pixels of a patch's side."""
    merge: int
    """Patches of a feature's side."""

    @property
    def token_id(self) -> int:
        """The picture token: its places in a picture's span take the features in order."""
        return self.pattern.token_id


def fit(facts: VisionFacts, width: int, height: int, detail: Detail = "auto") -> Fit:
    """How to bring a picture of this size to the one that the model takes. Raises PictureRefused for shapes that it cannot take."""
    return facts.sizing.fit(width, height, LOW_DETAIL_PIXELS if detail == "low" else None)


def target_size(facts: VisionFacts, width: int, height: int, detail: Detail = "auto") -> tuple[int, int]:
    """(width, height) after fitting."""
    fitted = fit(facts, width, height, detail)
    return fitted.width, fitted.height


def expansion(facts: VisionFacts, width: int, height: int) -> tuple[int, ...]:
    """The ids in place of one `placeholder_id`, for a picture of this size after fitting."""
    return facts.pattern.ids(width, height)
