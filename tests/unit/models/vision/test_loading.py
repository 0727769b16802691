"""Vision parts from folders as they are published: other layouts of names, quantised towers, tensors that are absent or do not fit."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import pytest

from pomona.core.errors import ModelUnusable
from pomona.models.device import use_device
from pomona.models.loading import LoadedModel, load
from pomona.models.references import ResolvedModel
from pomona.models.validation import inspect_folder
from tests.golden.picture_cases import PICTURE_GOLDEN, PICTURE_NAMES

Weights = dict[str, mx.array]
Change = Callable[[Weights], Weights]
PIXELS = {"llava": (24, 24), "llava_siglip_qwen2": (24, 24), "gemma3": (24, 24)}


@pytest.fixture(autouse=True)
def on_the_cpu() -> Iterator[None]:
    use_device("cpu")
    yield
    use_device("auto")


def changed(name: str, folder: Path, change: Change, **config: object) -> Path:
    """A copy of a recorded folder with other weights, and other entries in its config.json."""
    shutil.copytree(PICTURE_GOLDEN / name, folder, dirs_exist_ok=True)
    weights = change(cast("Weights", mx.load(str(PICTURE_GOLDEN / name / "model.safetensors"))))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    facts = cast("dict[str, object]", json.loads((folder / "config.json").read_text())) | config
    (folder / "config.json").write_text(json.dumps(facts))
    return folder


def opened(folder: Path) -> LoadedModel:
    return load(ResolvedModel(id=folder.name, path=folder, kind="folder", reference=str(folder)), use_device("cpu"))


def features(model: LoadedModel, name: str) -> mx.array:
    assert model.vision is not None
    height, width = PIXELS.get(name, (24, 40))
    return model.vision.tower.encode(mx.random.normal((height, width, 3), key=mx.random.key(3))).embeddings


def is_seeing(name: str) -> bool:
    return any(part in name for part in ("visual", "vision_tower", "multi_modal_projector"))


def as_mlx_vlm(weights: Weights) -> Weights:
    """Names and the order of axes as mlx-vlm writes them."""
    found: Weights = {}
    for name, array in weights.items():
        plain = name.removeprefix("model.")
        if plain.startswith("visual."):
            ours = "vision_tower." + plain.removeprefix("visual.")
        elif is_seeing(plain) or plain.startswith(("language_model.model", "language_model.lm_head")):
            ours = plain
        else:
            ours = f"language_model.{name}".replace("language_model.model.language_model.", "language_model.model.")
        found[ours] = mx.contiguous(mx.moveaxis(array, 1, -1)) if array.ndim > 3 else array
    return found


def as_transformers_5(weights: Weights) -> Weights:
    """All parts under `model`."""
    found: Weights = {}
    for name, array in weights.items():
        if name.startswith(("language_model.lm_head.", "lm_head.")):
            found[name.removeprefix("language_model.")] = array
        elif name.startswith(("model.language_model.", "model.visual.")):
            found[name] = array
        elif is_seeing(name):
            found["model." + name.removeprefix("model.").replace("vision_tower.vision_model.", "vision_tower.")] = array
        else:
            found["model.language_model." + name.removeprefix("language_model.").removeprefix("model.")] = array
    return found


def without_tower(weights: Weights) -> Weights:
    return {name: array for name, array in weights.items() if not is_seeing(name)}


@pytest.mark.parametrize("name", PICTURE_NAMES)
@pytest.mark.parametrize("layout", [as_mlx_vlm, as_transformers_5])
def test_every_layout_of_names_makes_the_same_model(name: str, layout: Change, tmp_path: Path) -> None:
    plain, other = opened(PICTURE_GOLDEN / name), opened(changed(name, tmp_path / name, layout))
    assert float(mx.abs(features(other, name) - features(plain, name)).max()) == 0.0
    ids = mx.array([[5, 6, 7, 8]])
    assert float(mx.abs(cast("Any", other.module)(ids) - cast("Any", plain.module)(ids)).max()) == 0.0


def test_quantised_towers_compute_what_their_packed_weights_say(tmp_path: Path) -> None:
    def pack(weights: Weights) -> Weights:
        packed: Weights = {}
        for name, array in weights.items():
            if "visual.blocks" in name and name.endswith("qkv.weight"):
                packed[name], packed[name.replace("weight", "scales")], packed[name.replace("weight", "biases")] = mx.quantize(array, 32, 8)
            else:
                packed[name] = array
        return packed

    def round_off(weights: Weights) -> Weights:
        return {
            name: mx.dequantize(*mx.quantize(array, 32, 8), 32, 8) if "visual.blocks" in name and name.endswith("qkv.weight") else array
            for name, array in weights.items()
        }

    quantization = {"group_size": 32, "bits": 8}
    found = opened(changed("qwen2_5_vl", tmp_path / "packed", pack, quantization=quantization))
    expected = opened(changed("qwen2_5_vl", tmp_path / "plain", round_off))
    assert float(mx.abs(features(found, "") - features(expected, "")).max()) < 1e-5


def test_a_folder_without_vision_weights_takes_text_alone_and_says_so(tmp_path: Path) -> None:
    folder = changed("gemma3", tmp_path / "m", without_tower)
    assert not inspect_folder(folder).vision
    model = opened(folder)
    assert model.vision is None
    assert any("holds no weights of a vision part" in warning for warning in model.warnings)


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    gone = "visual.blocks.1.attn.proj.weight"
    folder = changed("qwen2_5_vl", tmp_path / "m", lambda weights: {name: array for name, array in weights.items() if name != gone})
    assert inspect_folder(folder).vision
    with pytest.raises(ModelUnusable, match=r"lack visual\.blocks\.1\.attn\.proj\.weight of the vision part"):
        opened(folder)


def test_a_tensor_of_another_shape_is_named_with_both_shapes(tmp_path: Path) -> None:
    wrong = "multi_modal_projector.linear_2.bias"
    folder = changed(
        "llava", tmp_path / "m", lambda weights: {name: array[:-1] if name.endswith(wrong) else array for name, array in weights.items()}
    )
    with pytest.raises(ModelUnusable, match=r"multi_modal_projector\.linear_2\.bias .* \[31\], and by config\.json it should have \[32\]"):
        opened(folder)


def test_a_config_that_describes_no_tower_is_at_fault(tmp_path: Path) -> None:
    folder = changed("llava", tmp_path / "m", dict, vision_config={"model_type": "eyes"})
    with pytest.raises(ModelUnusable, match=r"config\.json.*'eyes' is missing"):
        opened(folder)


def test_weights_of_the_tower_count(tmp_path: Path) -> None:
    whole = opened(changed("llava", tmp_path / "whole", dict)).weight_bytes
    blind = opened(changed("llava", tmp_path / "blind", without_tower)).weight_bytes
    assert whole > blind
