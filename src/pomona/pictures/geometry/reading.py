"""Vision facts from a model folder: config.json, preprocessor_config.json or processor_config.json, and ids from the tokenizer's files.

What a folder leaves out is as in the image processors of transformers.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn, cast

from pomona.core.errors import ModelUnusable
from pomona.pictures.geometry.facts import TokenPattern, VisionFacts, VisionFamily
from pomona.pictures.geometry.fitting import AreaSizing, CropSizing, EdgeSizing, FixedSizing, Sizing

Json = Mapping[str, Any]
FAMILIES: Mapping[str, VisionFamily] = {
    "qwen2_vl": "qwen_vl",
    "qwen2_5_vl": "qwen_vl",
    "qwen3_vl": "qwen_vl",
    "qwen3_vl_moe": "qwen_vl",
    "gemma3": "gemma3",
    "llava": "llava",
    "pixtral": "pixtral",
    "mistral3": "pixtral",
}
"""By `model_type`. A Pixtral in the layout of Hugging Face is a llava with a tower of type pixtral."""
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""By the numbers that Pillow and the files use."""


def read_vision_facts(folder: Path) -> VisionFacts | None:
    """None for a model without a vision part, or with one that is not known here. Raises ModelUnusable naming the file."""
    config = _read_json(folder / "config.json")
    vision = config.get("vision_config")
    family = FAMILIES.get(str(config.get("model_type")))
    if not isinstance(vision, dict) or family is None:
        return None
    if cast("Json", vision).get("model_type") == "pixtral":
        family = "pixtral"
    return _Folder(folder, config).facts(family)


class _Folder:
    """The files of one folder."""

    def __init__(self, folder: Path, config: Json) -> None:
        self._folder = folder
        self._config = config
        self._vision = cast("Json", config["vision_config"])
        self._processor = _read_json(folder / "processor_config.json")
        nested = self._processor.get("image_processor")
        self._pictures = cast("Json", nested) if isinstance(nested, dict) else _read_json(folder / "preprocessor_config.json")
        self._texts = _special_texts(folder)

    def facts(self, family: VisionFamily) -> VisionFacts:
        made = {"qwen_vl": self._qwen, "gemma3": self._gemma, "llava": self._llava, "pixtral": self._pixtral}[family]
        try:
            return made()
        except (KeyError, TypeError, ValueError) as error:
            what = f"the entry {error} is missing" if isinstance(error, KeyError) else str(error)
            _refuse(self._folder, f"does not describe its vision part as a model of this family must: {what}. Download it again.")

    def _qwen(self) -> VisionFacts:
        patch, merge = self._number("patch_size", 14), self._number("merge_size", self._vision.get("spatial_merge_size", 2))
        size = cast("Json", self._pictures.get("size") or {})
        least = self._pictures.get("min_pixels") or size.get("shortest_edge") or size.get("min_pixels") or 56 * 56
        most = self._pictures.get("max_pixels") or size.get("longest_edge") or size.get("max_pixels") or 28 * 28 * 1280
        token = self._token("image_token_id", "image_token_index")
        text = self._texts.get(token, "<|image_pad|>")
        sizing = AreaSizing(factor=patch * merge, min_pixels=int(least), max_pixels=int(most))
        pattern = TokenPattern(token_id=token, factor=patch * merge)
        return self._finish("qwen_vl", text, pattern, sizing, patch=patch, merge=merge)

    def _gemma(self) -> VisionFacts:
        token, begin, end = (self._token(f"{name}_token_index", f"{name}_token_id") for name in ("image", "boi", "eoi"))
        count = int(self._processor.get("image_seq_length") or self._config.get("mm_tokens_per_image") or 256)
        text = self._texts.get(begin, "<start_of_image>")
        size = self._size() or (self._vision["image_size"],) * 2
        pattern = TokenPattern(token_id=token, count=count, before=(begin,), after=(end,))
        sizing = FixedSizing(width=size[0], height=size[1])
        patch = int(self._vision["patch_size"])
        merge = size[0] // patch // int(count**0.5)
        # the blank lines are text, and join with the line ends around them when tokenised
        return self._finish("gemma3", text, pattern, sizing, surrounded=f"\n\n{text}\n\n", token_id=begin, patch=patch, merge=merge)

    def _llava(self) -> VisionFacts:
        token = self._token("image_token_index", "image_token_id")
        sizing = self._llava_sizing()
        patch = int(self._processor.get("patch_size") or self._vision["patch_size"])
        is_clip = str(self._vision.get("model_type", "clip_vision_model")).startswith("clip")
        count = (sizing.height // patch) * (sizing.width // patch)
        count += int(self._processor.get("num_additional_image_tokens") or is_clip)
        strategy = self._processor.get("vision_feature_select_strategy") or self._config.get("vision_feature_select_strategy", "default")
        pattern = TokenPattern(token_id=token, count=count - (strategy == "default"))
        return self._finish("llava", self._texts.get(token, "<image>"), pattern, sizing, patch=patch, merge=1)

    def _llava_sizing(self) -> FixedSizing | CropSizing:
        kind = str(self._pictures.get("image_processor_type", "CLIPImageProcessor"))
        padded = bool(self._pictures.get("do_pad")) and kind.startswith("Llava")
        mean = cast("tuple[float, float, float]", tuple(self._pictures.get("image_mean") or self._usual()[0]))
        color = (int(mean[0] * 255), int(mean[1] * 255), int(mean[2] * 255)) if padded else None
        size = self._size()
        crops = self._pictures.get("do_center_crop", not kind.startswith("Siglip"))
        if size is not None and not crops:
            return FixedSizing(width=size[0], height=size[1], pad_color=color)
        cut = self._pictures.get("crop_size") or self._pictures.get("size") or self._vision.get("image_size", 224)
        cut = cast("Json", cut) if isinstance(cut, dict) else {"height": cut, "width": cut}
        short = self._pictures.get("size") or 224
        short = int(cast("Json", short).get("shortest_edge", 0) if isinstance(short, dict) else short) if not size else min(size)
        width, height = int(cut.get("width") or cut["shortest_edge"]), int(cut.get("height") or cut["shortest_edge"])
        if short < max(width, height):
            raise ValueError(f"pictures of {short!r} pixels cannot be cut to {width} x {height}")
        return CropSizing(shortest=short, width=width, height=height, pad_color=color)

    def _pixtral(self) -> VisionFacts:
        token = self._token("image_token_index", "image_token_id")
        merge = int(self._config.get("spatial_merge_size") or 1)
        side = self._processor.get("patch_size") or self._vision.get("patch_size", 16)
        patch = int(cast("Json", side)["height"] if isinstance(side, dict) else side)
        size = self._pictures.get("size") or {"longest_edge": self._vision.get("image_size", 1024)}
        longest = int(size if isinstance(size, int) else (cast("Json", size).get("longest_edge") or cast("Json", size)["height"]))
        ids = {text: number for number, text in self._texts.items()}
        marks = [str(self._processor.get(f"image_{name}_token") or f"[IMG_{name.upper()}]") for name in ("break", "end")]
        unknown = [mark for mark in marks if mark not in ids]
        if unknown:
            raise ValueError(f"its tokenizer has no token {unknown[0]!r}")
        pattern = TokenPattern(token_id=token, factor=patch * merge, row_end=ids[marks[0]], after=(ids[marks[1]],))
        sizing = EdgeSizing(factor=patch * merge, longest=longest)
        return self._finish("pixtral", self._texts.get(token, "[IMG]"), pattern, sizing, patch=patch, merge=merge)

    def _finish(  # noqa: PLR0913 - one call per family, all by name
        self,
        family: VisionFamily,
        text: str,
        pattern: TokenPattern,
        sizing: Sizing,
        *,
        patch: int,
        merge: int,
        surrounded: str | None = None,
        token_id: int | None = None,
    ) -> VisionFacts:
        mean, std = self._usual()
        given = (self._pictures.get("image_mean"), self._pictures.get("image_std"))
        normal = self._pictures.get("do_normalize", True)
        resample = int(self._pictures.get("resample", 2 if family == "gemma3" else 3))
        return VisionFacts(
            family=family,
            placeholder=text,
            surrounded=surrounded or text,
            placeholder_id=pattern.token_id if token_id is None else token_id,
            pattern=pattern,
            sizing=sizing,
            resample=cast("Literal['bilinear']", RESAMPLE[resample]),
            mean=_three(given[0] or mean) if normal else (0.0, 0.0, 0.0),
            std=_three(given[1] or std) if normal else (1.0, 1.0, 1.0),
            rescale=float(self._pictures.get("rescale_factor", 1 / 255)) if self._pictures.get("do_rescale", True) else 1.0,
            patch=patch,
            merge=merge,
        )

    def _usual(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        kind = str(self._pictures.get("image_processor_type", self._config.get("model_type")))
        return HALF if kind.lower().startswith(("gemma3", "siglip", "qwen3")) else CLIP

    def _size(self) -> tuple[int, int] | None:
        """(width, height) where the files name both."""
        size = self._pictures.get("size")
        if isinstance(size, dict) and "width" in size and "height" in size:
            return int(cast("Json", size)["width"]), int(cast("Json", size)["height"])
        return None

    def _number(self, key: str, default: object) -> int:
        return int(self._pictures.get(key) or self._vision.get(key) or cast("int", default))

    def _token(self, *keys: str) -> int:
        for key in keys:
            if isinstance(self._config.get(key), int):
                return int(self._config[key])
        raise KeyError(keys[0])


def _three(values: object) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in cast("list[float]", values))
    return first, second, third


def _special_texts(folder: Path) -> dict[int, str]:
    """Texts of added tokens by id."""
    texts = {
        int(number): str(cast("Json", token).get("content"))
        for number, token in cast("Json", _read_json(folder / "tokenizer_config.json").get("added_tokens_decoder") or {}).items()
    }
    added = cast("list[Json]", _read_json(folder / "tokenizer.json").get("added_tokens") or [])
    return texts | {int(token["id"]): str(token["content"]) for token in added}


def _read_json(path: Path) -> Json:
    """The object in a JSON file; empty where the file is absent."""
    try:
        value = cast("object", json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        _refuse(path, f"cannot be read as JSON: {error}. Download it again.")
    if not isinstance(value, dict):
        _refuse(path, f"must hold a JSON object, and holds a {type(value).__name__}. Download it again.")
    return cast("Json", value)


def _refuse(path: Path, reason: str) -> NoReturn:
    raise ModelUnusable(f"The file {str(path)!r} {reason}")
