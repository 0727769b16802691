import importlib
import json
import shutil
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear

from pomona.core.errors import ModelUnusable
from pomona.core.settings import ModelsSettings
from pomona.models.cpu.blas import product_library
from pomona.models.cpu.expansion import expand_to_float32, flat_parameters
from pomona.models.cpu.packing import Packing
from pomona.models.device import Device, use_device
from pomona.models.loading import LoadedModel, load
from pomona.models.references import bundled_folder, resolve
from tests.unit.models.folders import STORIES, WEIGHTS, change_json, copy_stories, split_weights, write_weights


@pytest.fixture(scope="module")
def cpu() -> Device:
    return use_device("cpu")


def _load(reference: Path | str, device: Device, *, expand: bool = True, packing: Packing = "quantized") -> LoadedModel:
    return load(resolve(str(reference), ModelsSettings()), device, ModelsSettings(dequantize_on_cpu=expand, pack_on_cpu=packing))


def _logits(loaded: LoadedModel, ids: list[int]) -> "np.ndarray[Any, np.dtype[np.float32]]":
    return np.array(cast("Any", loaded.module)(mx.array([ids])).astype(mx.float32))


def test_stories_tell_the_story_that_they_were_trained_on(cpu: Device) -> None:
    loaded = _load(STORIES, cpu)
    vocabulary = {number: text for text, number in json.loads((STORIES / "tokenizer.json").read_text())["model"]["vocab"].items()}
    ids = [1]
    for _ in range(24):
        ids.append(int(_logits(loaded, ids)[0, -1].argmax()))
    text = "".join(vocabulary[number] for number in ids[1:]).replace("▁", " ").strip()
    assert text.startswith("Once upon a time, there was a little girl named")


def test_facts_of_a_loaded_model(cpu: Device) -> None:
    loaded = _load(STORIES, cpu)
    assert (loaded.id, loaded.model_type, loaded.architecture) == ("stories260K", "llama", "LlamaForCausalLM")
    assert (loaded.max_context, loaded.vocabulary, loaded.eos_token_ids) == (512, 512, (2,))
    assert (loaded.dtype, loaded.warnings, loaded.path) == ("float32", (), STORIES)
    assert loaded.weight_bytes == sum(array.nbytes for _, array in flat_parameters(loaded.module))
    assert loaded.config["hidden_size"] == 64


def test_bundled_model_is_expanded_on_the_cpu(cpu: Device) -> None:
    loaded = _load("pomona-tiny", cpu, packing="off")
    assert loaded.dtype == "float32"
    assert {array.dtype for _, array in flat_parameters(loaded.module)} == {mx.float32}
    assert loaded.weight_bytes == 4 * 18_145_152
    assert set(loaded.eos_token_ids) == {8183, 8185}


def test_packed_copies_answer_as_the_weights_beside_them(cpu: Device) -> None:
    ids = [[5, 6, 7, 8, 9], [40, 50, 60, 70, 80]]
    plain, packed = _load("pomona-tiny", cpu, packing="off"), _load("pomona-tiny", cpu)
    expected = np.array(cast("Any", plain.module)(mx.array(ids)))
    found = np.array(cast("Any", packed.module)(mx.array(ids)))
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    kept = packed.weight_bytes - plain.weight_bytes
    assert 1.12 < kept / 18_145_152 < 1.2 if product_library() else kept == 0


def test_sixteen_bit_weights_get_copies_when_asked(cpu: Device, tmp_path: Path) -> None:
    shutil.copytree(bundled_folder(), tmp_path / "halves")
    library = cast("Any", importlib.import_module("mlx_lm.utils"))
    module, config = library.load_model(bundled_folder())
    library.save_model(tmp_path / "halves", library.dequantize_model(module))
    plain = {key: value for key, value in config.items() if not key.startswith("quantization")}
    (tmp_path / "halves" / "config.json").write_text(json.dumps(plain))
    sizes = [_load(tmp_path / "halves", cpu, packing=packing).weight_bytes for packing in ("quantized", "all")]
    assert sizes[0] == 4 * 18_145_152
    assert 2 * 18_100_000 < sizes[1] - sizes[0] < 2.1 * 18_145_152 if product_library() else sizes[1] == sizes[0]


def test_expanded_weights_answer_as_the_packed_ones_do(cpu: Device) -> None:
    """Packed weights with everything around them in float32, so that nothing else is rounded."""
    ids = [8184, 1234, 77, 4095, 600]
    expanded, packed = _load("pomona-tiny", cpu), _load("pomona-tiny", cpu, expand=False)
    packed.module.set_dtype(mx.float32)
    assert any(array.dtype == mx.uint32 for _, array in flat_parameters(packed.module))
    np.testing.assert_allclose(_logits(expanded, ids), _logits(packed, ids), atol=2e-3)


def test_weights_stay_as_stored_elsewhere(cpu: Device) -> None:
    loaded = _load("pomona-tiny", cpu, expand=False)
    assert loaded.dtype == "bfloat16"
    assert loaded.weight_bytes < 20_000_000


@pytest.mark.parametrize(
    ("mode", "group", "bits"), [("affine", 64, 4), ("affine", 32, 8), ("mxfp4", 32, 4), ("nvfp4", 16, 4), ("mxfp8", 32, 8)]
)
def test_expansion_computes_what_the_packed_layers_do(mode: str, group: int, bits: int, cpu: Device) -> None:
    class Layers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(32, 64)
            self.linear = nn.Linear(64, 48, bias=True)
            self.experts = SwitchLinear(64, 48, 4, bias=True)

        def __call__(self, x: mx.array) -> tuple[mx.array, ...]:
            chosen = mx.array([[0, 3], [1, 2]])
            return self.embedding.as_linear(x), self.linear(x), self.experts(mx.expand_dims(x, (-2, -3)), chosen)

    x = mx.random.normal((2, 64), key=mx.random.key(3))
    layers = Layers()
    nn.quantize(layers, group_size=group, bits=bits, mode=mode)
    assert isinstance(layers.experts, QuantizedSwitchLinear)
    before = layers(x)
    expand_to_float32(layers)
    assert (type(layers.embedding), type(layers.linear), type(layers.experts)) == (nn.Embedding, nn.Linear, SwitchLinear)
    for old, new in zip(before, layers(x), strict=True):
        assert float(mx.abs(new - old).max()) < 1e-4


def test_expansion_keeps_other_types(cpu: Device) -> None:
    class Layers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = mx.array([1, 2], mx.int32)
            self.half = mx.array([0.5], mx.float16)

    layers = Layers()
    expand_to_float32(layers)
    assert (layers.table.dtype, layers.half.dtype) == (mx.int32, mx.float32)


def _change_tensor(folder: Path, name: str, new_name: str | None, shape: list[int] | None = None) -> None:
    """Rename, or reshape, one tensor without moving its bytes."""
    header, tensors = split_weights(folder / WEIGHTS)
    entry = header.pop(name)
    header[new_name or name] = {**entry, "shape": shape or entry["shape"]}
    write_weights(folder / WEIGHTS, header, tensors)


@pytest.mark.parametrize(
    ("new_name", "shape", "reason"),
    [
        ("model.layers.9.input_layernorm.weight", None, r"not in model"),
        ("lm_head.extra", None, r"not in model"),
        (None, [4, 16], r"Expected shape \(64,\) but received shape \(4, 16\)"),
    ],
)
def test_tensors_that_do_not_fit_are_named(new_name: str | None, shape: list[int] | None, reason: str, tmp_path: Path, cpu: Device) -> None:
    folder = copy_stories(tmp_path / "model")
    _change_tensor(folder, "model.layers.0.input_layernorm.weight", new_name, shape)
    with pytest.raises(ModelUnusable, match=f"The weights in '{folder}' do not make a model of type 'llama'.*{reason}"):
        _load(folder, cpu)


def test_missing_tensors_are_named(tmp_path: Path, cpu: Device) -> None:
    folder = copy_stories(tmp_path / "model")
    change_json(folder / "config.json", num_hidden_layers=6)
    with pytest.raises(ModelUnusable, match=r"Missing .* parameters.*model\.layers\.5\."):
        _load(folder, cpu)


@pytest.mark.parametrize(
    "changes", [{"hidden_size": None}, {"hidden_size": "wide"}, {"num_attention_heads": 0}, {"quantization": {"bits": 4}}]
)
def test_configs_that_make_no_model_are_named(changes: dict[str, object], tmp_path: Path, cpu: Device) -> None:
    folder = copy_stories(tmp_path / "model")
    change_json(folder / "config.json", **changes)
    with pytest.raises(ModelUnusable, match=r"config\.json' do not make a model of type 'llama'"):
        _load(folder, cpu)


def test_unknown_limits_are_warned_of(tmp_path: Path, cpu: Device) -> None:
    folder = copy_stories(tmp_path / "model")
    change_json(folder / "config.json", eos_token_id=None, max_position_embeddings=None)
    (folder / "tokenizer_config.json").unlink()
    loaded = _load(folder, cpu)
    assert loaded.max_context == 8192
    assert len(loaded.warnings) == 2
    assert "context" in loaded.warnings[0]
    assert "end-of-sequence" in loaded.warnings[1]


def test_vocabulary_of_the_embedding_where_the_config_is_silent(tmp_path: Path, cpu: Device) -> None:
    """Starcoder2's definition assumes 49,152 tokens where the config names no number."""
    config = {"model_type": "starcoder2", "hidden_size": 8, "num_hidden_layers": 1, "intermediate_size": 8, "num_attention_heads": 1}
    config |= {"num_key_value_heads": 1}
    definition = cast("Any", importlib.import_module("mlx_lm.models.starcoder2"))
    folder = copy_stories(tmp_path / "model")
    (folder / "config.json").write_text(json.dumps(config))
    module = definition.Model(definition.ModelArgs.from_dict(config))
    mx.save_safetensors(str(folder / WEIGHTS), dict(flat_parameters(module)))
    assert _load(folder, cpu).vocabulary == 49_152
