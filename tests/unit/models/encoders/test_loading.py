"""Folders of encoders: what they are for, how they pool, and what is said of broken ones."""

import json
import shutil
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from pomona.core.errors import ModelUnusable
from pomona.models.cpu.expansion import flat_parameters
from pomona.models.encoders.batch import Batch, TextIds
from pomona.models.encoders.layout import read_layout
from pomona.models.tasks import task_of
from pomona.models.validation import inspect_folder, read_config
from tests.golden.encoder_cases import ENCODERS, NAMES, Floats, load_case, read_encoder_golden, task_of_case


def copied(name: str, target: Path) -> Path:
    shutil.copytree(ENCODERS / name, target / name)
    return target / name


def change(path: Path, **fields: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


@pytest.mark.parametrize("name", NAMES)
def test_tasks_are_told_by_the_files(name: str) -> None:
    facts = inspect_folder(ENCODERS / name)
    assert facts.task == task_of_case(name)
    assert facts.max_context == (94 if "roberta" in name else 96)


def test_decoders_write_unless_something_says_otherwise(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    config = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}
    folder.mkdir()
    assert task_of(folder, config) == "generate"
    (folder / "README.md").write_text("---\nlicense: mit\npipeline_tag: text-ranking\n---\npipeline_tag: feature-extraction\n")
    assert task_of(folder, config) == "rerank"
    write(folder / "1_Pooling" / "config.json", {})
    assert task_of(folder, config) == "embed"
    write(folder / "modules.json", [{"type": "sentence_transformers.cross_encoder.modules.LogitScore", "path": "1_LogitScore"}])
    (folder / "modules.json").write_text('[{"type": "x.LogitScore"}]')
    assert task_of(folder, config) == "rerank"
    for name, task in {"Qwen3-Embedding-0.6B-8bit": "embed", "Qwen3-Reranker-4B": "rerank", "embedded-chat": "generate"}.items():
        assert task_of(tmp_path / name, config) == task
    assert task_of(tmp_path / "models--Qwen--Qwen3-Embedding-4B" / "snapshots" / "1234", config) == "embed"


def test_layouts_of_all_versions(tmp_path: Path) -> None:
    folder = copied("bert", tmp_path)
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in [("Transformer", ""), ("Pooling", "1_P")]]
    write(folder / "modules.json", modules)
    write(folder / "1_P" / "config.json", {"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True, "include_prompt": False})
    write(folder / "config_sentence_transformers.json", {"prompts": {"query": "find: "}, "default_prompt_name": "query"})
    write(folder / "sentence_bert_config.json", {"max_seq_length": 40, "do_lower_case": True})
    layout = read_layout(folder, read_config(folder), "embed")
    assert (layout.pooling, layout.include_prompt, layout.normalize) == (("cls", "max"), False, False)
    assert (layout.prompts, layout.default_prompt, layout.lower_case) == ({"query": "find: "}, "query", True)
    assert inspect_folder(folder).max_context == 40
    assert load_case(folder, "embed").width == 64
    write(folder / "1_P" / "config.json", {"pooling_mode": "weightedmean"})
    assert read_layout(folder, read_config(folder), "embed").pooling == ("weightedmean",)


def test_dense_steps_and_lengths(tmp_path: Path) -> None:
    golden = read_encoder_golden("bert")
    folder = copied("bert", tmp_path)
    kinds = [("Transformer", ""), ("Pooling", "1_P"), ("Dense", "2_D"), ("Normalize", "3_N")]
    write(folder / "modules.json", [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in kinds])
    write(folder / "1_P" / "config.json", {"pooling_mode": "mean"})
    dense = {"in_features": 32, "out_features": 5, "bias": True, "activation_function": "torch.nn.modules.activation.Tanh"}
    write(folder / "2_D" / "config.json", dense)
    source = np.random.default_rng(0)
    weight, bias = source.normal(size=(5, 32)).astype(np.float32), source.normal(size=5).astype(np.float32)
    mx.save_safetensors(str(folder / "2_D" / "model.safetensors"), {"linear.weight": mx.array(weight), "linear.bias": mx.array(bias)})
    expected = np.tanh(weight @ golden.hidden[1].mean(axis=0) + bias)
    found = load_case(folder, "embed").encode([TextIds(ids=golden.prompts[1])])[0]
    assert np.abs(found - expected / np.linalg.norm(expected)).max() < 1e-4


@pytest.mark.parametrize(
    ("file", "value", "part"),
    [
        ("modules.json", [{"type": "a.b.CNN", "path": "1"}], "'CNN'"),
        ("modules.json", {}, "list of objects"),
        ("1_Pooling/config.json", {"pooling_mode": "median"}, "'median'"),
    ],
)
def test_unknown_layouts_name_the_file(tmp_path: Path, file: str, value: object, part: str) -> None:
    folder = copied("bert", tmp_path)
    write(folder / file, value)
    with pytest.raises(ModelUnusable) as caught:
        load_case(folder, "embed")
    assert part in caught.value.message
    assert file.rpartition("/")[2] in caught.value.message


def rewrite_weights(folder: Path, drop: str = "", add: str = "") -> None:
    path = str(folder / "model.safetensors")
    weights = cast("dict[str, Any]", mx.load(path))
    mx.eval(*weights.values())
    if drop:
        del weights[drop]
    if add:
        weights[add] = mx.zeros((2, 2))
    mx.save_safetensors(path, weights)


@pytest.mark.parametrize(
    ("drop", "add", "part"),
    [
        ("encoder.layer.1.attention.self.key.weight", "", "encoder.layer.1.attention.self.qkv.weight"),
        ("embeddings.LayerNorm.bias", "", "lack the tensors embeddings.LayerNorm.bias"),
        ("", "encoder.layer.9.output.dense.weight", "unknown tensors encoder.layer.9.output.dense.weight"),
        ("embeddings.LayerNorm.bias", "embeddings.LayerNorm.bias", "embeddings.LayerNorm.bias is [2, 2] and should be [32]"),
    ],
)
def test_wrong_weights_are_named(tmp_path: Path, drop: str, add: str, part: str) -> None:
    folder = copied("bert", tmp_path)
    rewrite_weights(folder, drop, add)
    with pytest.raises(ModelUnusable) as caught:
        load_case(folder, "embed")
    assert part in caught.value.message


def test_more_tokens_than_positions_are_never_taken(tmp_path: Path) -> None:
    folder = copied("bert", tmp_path)
    write(folder / "sentence_bert_config.json", {"max_seq_length": 512})
    assert inspect_folder(folder).max_context == 96


@pytest.mark.parametrize(
    ("name", "fields", "part"),
    [
        ("bert", {"num_attention_heads": 5}, "hidden_size = 32 cannot be divided into num_attention_heads = 5 heads"),
        ("modernbert", {"num_attention_heads": 32}, "num_attention_heads = 32 heads of an even width"),
        ("xlm-roberta", {"num_attention_heads": 0}, "num_attention_heads = 0 heads"),
    ],
)
def test_heads_that_do_not_divide_the_width_are_refused(tmp_path: Path, name: str, fields: dict[str, object], part: str) -> None:
    folder = copied(name, tmp_path)
    change(folder / "config.json", **fields)
    with pytest.raises(ModelUnusable, match=part):
        load_case(folder, "embed")


def test_classifiers_of_several_classes_are_no_rerankers(tmp_path: Path) -> None:
    folder = copied("bert-reranker", tmp_path)
    change(folder / "config.json", id2label={"0": "a", "1": "b"})
    with pytest.raises(ModelUnusable, match="2 classes; a reranker has 1"):
        load_case(folder, "rerank")


def test_decoders_that_look_both_ways_are_refused(tmp_path: Path) -> None:
    folder = copied("qwen3-embedding", tmp_path)
    change(folder / "config.json", is_causal=False)
    with pytest.raises(ModelUnusable, match="both directions"):
        load_case(folder, "embed")


def test_gemma_whose_layers_come_in_another_order_is_refused(tmp_path: Path) -> None:
    folder = copied("gemma3-embedding", tmp_path)
    change(folder / "config.json", layer_types=["full_attention", "sliding_attention"] * 2)
    with pytest.raises(ModelUnusable, match="lists layer_types in an order"):
        load_case(folder, "embed")


def test_heads_of_other_tasks_are_left_out(tmp_path: Path) -> None:
    """A masked language model has a pooler and a head that vectors do not need, and its names have a prefix."""
    golden = read_encoder_golden("bert")
    folder = copied("bert", tmp_path)
    path = str(folder / "model.safetensors")
    weights = cast("dict[str, Any]", mx.load(path))
    renamed = {f"bert.{name}": value for name, value in weights.items()} | {"cls.predictions.bias": mx.zeros((113,))}
    mx.eval(*renamed.values())
    mx.save_safetensors(path, renamed)
    found = cast("Floats", np.array(load_case(folder, "embed").encoder(Batch([TextIds(ids=golden.prompts[1])]))))
    assert np.abs(found - golden.hidden[1]).max() < 1e-4


@pytest.mark.parametrize("plain", [False, True], ids=["expanded", "packed"])
def test_quantised_weights_in_mlx_layout(tmp_path: Path, plain: bool) -> None:
    folder = copied("modernbert", tmp_path)
    golden = read_encoder_golden("modernbert")
    model = load_case(folder, "embed", plain=True)
    module: Any = model.encoder
    nn.quantize(
        module, group_size=32, bits=8, class_predicate=lambda _, layer: isinstance(layer, nn.Linear) and layer.weight.shape[1] == 32
    )
    weights = dict(flat_parameters(module))
    mx.eval(*weights.values())
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    change(folder / "config.json", quantization={"group_size": 32, "bits": 8})
    found = cast("Floats", np.array(load_case(folder, "embed", plain=plain).encoder(Batch([TextIds(ids=golden.prompts[1])]))))
    assert np.abs(found - golden.hidden[1]).max() < 0.2
    assert np.abs(found - golden.hidden[1]).max() > 1e-5


def test_positions_of_roberta_leave_padding_tokens_out() -> None:
    batch = Batch([TextIds(ids=[5, 1, 6]), TextIds(ids=[1, 7, 8, 9])])
    assert batch.positions_without(1).tolist() == [1, 0, 2, 0, 1, 2, 3]
