"""Pictures and image processors whose pixels are recorded. No torch in here."""

from collections.abc import Mapping
from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).parents[1] / "data" / "golden_pixels"
SIZES = ((150, 100), (61, 200), (30, 33), (97, 97))
"""(width, height): smaller and larger than what the processors ask for, odd, and square."""
_TOWER = {"patch_size": 14, "image_size": 56}

CASES: Mapping[str, tuple[str, Mapping[str, object], Mapping[str, object]]] = {
    "qwen2_vl": (
        "Qwen2VLImageProcessor",
        {"model_type": "qwen2_5_vl", "image_token_id": 7, "vision_config": {"patch_size": 14, "spatial_merge_size": 2}},
        {"size": {"shortest_edge": 3136, "longest_edge": 15680}, "patch_size": 14, "merge_size": 2, "resample": 3},
    ),
    "gemma3": (
        "Gemma3ImageProcessor",
        {
            "model_type": "gemma3",
            "image_token_index": 7,
            "boi_token_index": 8,
            "eoi_token_index": 9,
            "mm_tokens_per_image": 4,
            "vision_config": _TOWER,
        },
        {"size": {"height": 56, "width": 56}, "resample": 2},
    ),
    "clip": (
        "CLIPImageProcessor",
        {"model_type": "llava", "image_token_index": 7, "vision_config": {**_TOWER, "model_type": "clip_vision_model"}},
        {"size": {"shortest_edge": 56}, "crop_size": {"height": 56, "width": 56}, "resample": 3},
    ),
    "pixtral": (
        "PixtralImageProcessor",
        {"model_type": "llava", "image_token_index": 7, "vision_config": {"model_type": "pixtral", "patch_size": 16}},
        {"size": {"longest_edge": 96}, "patch_size": {"height": 16, "width": 16}, "resample": 3},
    ),
}
"""By family: the processor's class in transformers, config.json, preprocessor_config.json."""


def picture(width: int, height: int) -> Image.Image:
    """Edges, slopes and fine checks, the same on every machine."""
    pixels = bytearray()
    for row in range(height):
        for column in range(width):
            check = 255 * ((row // 3 + column // 5) % 2)
            pixels += bytes(((column * 255) // width, (row * 7 + column * 3) % 256, check))
    return Image.frombytes("RGB", (width, height), bytes(pixels))
