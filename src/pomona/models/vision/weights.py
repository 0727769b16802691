"""Weights of a vision part: from the same files as the language part, in the layout of Hugging Face or of mlx-vlm, quantised or not."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn

from pomona.core.errors import ModelUnusable
from pomona.models.cpu.expansion import flat_parameters
from pomona.models.vision.names import tower_name

Weights = dict[str, mx.array]
_infer_quantization = cast(
    "Callable[[str, nn.Module, Weights], dict[str, Any]]", importlib.import_module("mlx_lm.utils").infer_quant_config
)
CHANNELS = 3
SHOWN = 4


def load_weights(tower: nn.Module, folder: Path, config: Mapping[str, object]) -> None:
    """Give `tower` its weights, still on disk. Raises ModelUnusable naming the tensors that are absent or of another shape."""
    weights = _read(folder, config)
    for name in [name for name, array in weights.items() if array.ndim > 3]:
        weights[name] = _flatten_patches(weights[name])

    def packed(path: str, module: nn.Module) -> bool | dict[str, Any]:
        return hasattr(module, "to_quantized") and f"{path}.scales" in weights and _infer_quantization(path, module, weights)

    nn.quantize(tower, class_predicate=packed)
    wanted = dict(flat_parameters(tower))
    _check(folder, {name: array.shape for name, array in wanted.items()}, weights)
    tower.load_weights([(name, weights[name]) for name in wanted])
    tower.eval()


def _read(folder: Path, config: Mapping[str, object]) -> Weights:
    weights: Weights = {}
    for path in sorted(folder.glob("model*.safetensors")):
        for name, array in cast("Weights", mx.load(str(path))).items():
            ours = tower_name(name, config)
            if ours is not None:
                weights[ours] = array
    return weights


def _flatten_patches(weight: mx.array) -> mx.array:
    """A convolution over patches as a matrix (out, channels * patch * patch); equal frames of a film are added up."""
    if weight.shape[-1] == CHANNELS and weight.shape[1] != CHANNELS:  # MLX puts channels last
        weight = mx.moveaxis(weight, -1, 1)
    if weight.ndim == 5:
        weight = weight.astype(mx.float32).sum(axis=2).astype(weight.dtype)
    return weight.reshape(weight.shape[0], -1)


def _check(folder: Path, expected: Mapping[str, tuple[int, ...]], weights: Weights) -> None:
    missing = [name for name in expected if name not in weights]
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise ModelUnusable(
            f"The weights in {str(folder)!r} lack {', '.join(missing[:SHOWN])}{more} of the vision part that its config.json describes. "
            "Download the model again."
        )
    wrong = next((name for name in expected if weights[name].shape != expected[name]), None)
    if wrong is not None:
        raise ModelUnusable(
            f"The tensor {wrong} in {str(folder)!r} has the shape {list(weights[wrong].shape)}, and by config.json it should have "
            f"{list(expected[wrong])}. Config and weights must come from the same model; download it again."
        )
