"""A Qwen2.5-VL of random weights for `vision.py`, and mlx-vlm's definition of it. Imports MLX, so the BLAS must have been chosen."""

import importlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.models import qwen2

from pomona.models.cpu.expansion import flat_parameters
from pomona.models.vision.towers.qwen2_vl import Qwen2Tower

PICTURE = 990
PATCH, MERGE = 14, 2
CONFIG: Mapping[str, Any] = {
    "model_type": "qwen2_5_vl", "image_token_id": PICTURE, "video_token_id": 991, "vision_start_token_id": 992, "vision_end_token_id": 993,
    "vocab_size": 1000, "max_position_embeddings": 8192, "hidden_size": 384, "intermediate_size": 1024,
    "num_hidden_layers": 6, "num_attention_heads": 6, "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
    "tie_word_embeddings": False, "rope_scaling": {"type": "mrope", "mrope_section": [8, 12, 12]},
    "vision_config": {
        "model_type": "qwen2_5_vl", "depth": 6, "hidden_size": 320, "intermediate_size": 856, "num_heads": 4, "patch_size": PATCH,
        "spatial_merge_size": MERGE, "temporal_patch_size": 2, "in_channels": 3, "hidden_act": "silu", "out_hidden_size": 384,
        "window_size": 112, "fullatt_block_indexes": [2, 5], "tokens_per_second": 2,
    },
}  # fmt: skip


def write_model(folder: Path) -> None:
    """A Qwen2.5-VL with random float32 weights, in mlx-vlm's layout."""
    mx.random.seed(0)
    language = qwen2.Model(qwen2.ModelArgs.from_dict(dict(CONFIG)))
    weights = {f"language_model.{name}": array for name, array in flat_parameters(cast("nn.Module", language))}
    for name, array in flat_parameters(Qwen2Tower(CONFIG)):
        if name.endswith("patch_embed.proj.weight"):
            half = array.reshape(-1, 1, 3, PATCH, PATCH).transpose(0, 1, 3, 4, 2) / 2
            weights["vision_tower.patch_embed.proj.weight"] = mx.concatenate([half, half], axis=1)
        else:
            weights[name.replace("visual.", "vision_tower.", 1)] = array
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "Qwen2VLImageProcessor"}))
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": [], "model": {"type": "WordLevel", "vocab": {}}}))


class Peer:
    """mlx-vlm's model of the same folder, called as its own generation does: embeddings with the picture, then one forward pass."""

    def __init__(self, folder: Path) -> None:
        self._model = cast("Any", importlib.import_module("mlx_vlm.utils")).load_model(folder)

    def first_token(self, ids: tuple[int, ...], pixels: np.ndarray) -> float:
        """Seconds until the token behind `ids`, whose picture is `pixels` (side, side, 3), is known."""
        start = time.perf_counter()
        side = pixels.shape[0] // PATCH
        squares = (pixels.astype(np.float32) / 255).reshape(side // MERGE, MERGE, PATCH, side // MERGE, MERGE, PATCH, 3)
        patches = squares.transpose(0, 3, 1, 4, 6, 2, 5)[..., None, :, :].repeat(2, axis=-3).reshape(side * side, -1)
        grid = mx.array([[1, side, side]])
        model, batch = self._model, mx.array([ids])
        features = model.get_input_embeddings(batch, mx.array(patches), image_grid_thw=grid)
        out = model.language_model(batch, inputs_embeds=features.inputs_embeds, image_grid_thw=grid)
        mx.eval(out.logits[:, -1].argmax(axis=-1))
        return time.perf_counter() - start
