"""Records what the image processors of transformers (those that use Pillow) make of pictures, before they normalise. Needs torch:

python -m tests.golden.record_pixels
"""

import importlib
from typing import Any

from PIL import Image

from tests.golden.pixel_cases import CASES, FOLDER, SIZES, picture


def main() -> None:
    """Write one PNG for each case and size."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    transformers: Any = importlib.import_module("transformers")
    for name, (kind, _, preprocessor) in CASES.items():
        processor = getattr(transformers, kind)(**preprocessor)
        for width, height in SIZES:
            pixels = processed(processor, name, picture(width, height))
            Image.fromarray(pixels).save(FOLDER / f"{name}-{width}x{height}.png", optimize=True)


def processed(processor: Any, name: str, image: Image.Image) -> Any:
    """(height, width, 3), 8 bits."""
    made = processor(images=[image], do_rescale=False, do_normalize=False, return_tensors="pt")
    values = made["pixel_values"]
    if name == "qwen2_vl":
        _, rows, columns = made["image_grid_thw"][0].tolist()
        patches = values.reshape(rows // 2, columns // 2, 2, 2, 3, 2, 14, 14)[..., 0, :, :]
        values = patches.permute(4, 0, 2, 5, 1, 3, 6).reshape(1, 3, rows * 14, columns * 14)
    return values[0].round().clamp(0, 255).byte().permute(1, 2, 0).numpy()


if __name__ == "__main__":
    main()
