"""Every way that a folder can be broken gets an error that names the file and the reason."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from pomona.core.errors import ModelUnusable
from pomona.models.validation import inspect_folder, supported_model_types
from tests.unit.models.folders import STORIES, WEIGHTS, change_json, copy_stories, split_weights, write_weights

Break = Callable[[Path], object]


def _header(**changes: object) -> Break:
    """Change the header entry of the embedding."""

    def change(folder: Path) -> None:
        header, tensors = split_weights(folder / WEIGHTS)
        header["model.embed_tokens.weight"].update(changes)
        write_weights(folder / WEIGHTS, header, tensors)

    return change


def _cut(keep: int) -> Break:
    return lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:keep])


def _index(weight_map: object) -> Break:
    return lambda folder: (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def _rename_weights(name: str) -> Break:
    return lambda folder: (folder / WEIGHTS).rename(folder / name)


def _write(name: str, content: bytes) -> Break:
    return lambda folder: (folder / name).write_bytes(content)


def _config(**changes: object) -> Break:
    return lambda folder: change_json(folder / "config.json", **changes)


BROKEN: dict[str, tuple[Break, str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), r"no config\.json"),
    "config is no JSON": (_write("config.json", b"{"), r"config\.json' cannot be read as JSON"),
    "config is no text": (_write("config.json", b"\xff\xfe\x00"), r"config\.json' cannot be read as JSON"),
    "config is a list": (_write("config.json", b"[]"), r"config\.json' must hold a JSON object, and holds a list"),
    "no model_type": (_config(model_type=None), r"config\.json' must name its model_type"),
    "model_type is a number": (_config(model_type=3), r"model_type.*it says 3"),
    "unknown architecture": (_config(model_type="lama"), r"config\.json' has the model_type 'lama'.*llama"),
    "architecture with a path": (_config(model_type="../llama"), r"model_type '\.\./llama', which cannot be loaded"),
    "a part that is no model": (_config(model_type="cache"), r"model_type 'cache', which cannot be loaded"),
    "code in the folder": (_config(model_file="evil.py"), r"asks to run the Python file 'evil\.py'.*never runs code"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), r"no weights .*Download"),
    "only pickles": (_rename_weights("pytorch_model.bin"), r"only pytorch_model\.bin, which can run code"),
    "only gguf": (_rename_weights("model.gguf"), r"model\.gguf is there, which is another layout"),
    "other name": (_rename_weights("consolidated.safetensors"), r"consolidated\.safetensors is there, which is another"),
    "empty file": (_cut(0), r"model\.safetensors' does not start like a safetensors file \(0 bytes\)"),
    "no safetensors": (_write(WEIGHTS, b"<html>404 not found</html>"), r"does not start like a safetensors file"),
    "LFS pointer": (_write(WEIGHTS, b"version https://git-lfs.github.com/spec/v1\n"), r"Git LFS pointer.*git lfs pull"),
    "cut in the header": (_cut(200), r"ends inside its header: 200 bytes"),
    "cut in the tensors": (_cut(1_000_000), r"is truncated: its tensors need 1,040,128 bytes"),
    "bytes at the end": (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes() + b"!!"), r"has 2 bytes after its last tensor"),
    "header is no JSON": (_write(WEIGHTS, struct.pack("<Q", 4) + b"oops"), r"has a damaged header"),
    "header is a list": (_write(WEIGHTS, struct.pack("<Q", 2) + b"[]"), r"has a damaged header"),
    "tensor of a strange type": (_header(dtype="F7"), r"'model\.embed_tokens\.weight' is of the unknown type 'F7'"),
    "tensor of another size": (_header(shape=[512, 65]), r"shape \[512, 65\] and type F32 cannot have 131072 bytes"),
    "tensor without offsets": (_header(data_offsets=None), r"has a damaged header"),
    "shard that the index names": (_index({"lm_head.weight": "model-00002-of-00002.safetensors"}), r"not there: model-00002-of-00002"),
    "tensor that the index names": (
        _index({"lm_head.weight": WEIGHTS}),
        r"names tensors that its files do not hold: lm_head\.weight \(in model\.safetensors\)",
    ),
    "index without a map": (_index([]), r"index\.json' is not a valid index"),
    "one shard of three": (_rename_weights("model-00002-of-00003.safetensors"), r"lacks model-00001-of-00003.*model-00003-of-00003"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), r"has no tokenizer: none of tokenizer\.json"),
    "tokenizer config is no JSON": (_write("tokenizer_config.json", b"{"), r"tokenizer_config\.json' cannot be read"),
    "generation config is no JSON": (_write("generation_config.json", b"{"), r"generation_config\.json' cannot be read"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_folders_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    folder = copy_stories(tmp_path / "model")
    damage, reason = BROKEN[kind]
    damage(folder)
    with pytest.raises(ModelUnusable, match=reason) as caught:
        inspect_folder(folder)
    assert str(folder) in caught.value.message


def test_a_file_is_not_a_folder() -> None:
    with pytest.raises(ModelUnusable, match="is not a folder"):
        inspect_folder(STORIES / "config.json")


def test_gaps_between_tensors_are_damage(tmp_path: Path) -> None:
    folder = copy_stories(tmp_path / "model")
    header, tensors = split_weights(folder / WEIGHTS)
    first = min((name for name in header if name != "__metadata__"), key=lambda name: header[name]["data_offsets"][0])
    del header[first]
    write_weights(folder / WEIGHTS, header, tensors)
    with pytest.raises(ModelUnusable, match=r"starts at byte .* expected 0"):
        inspect_folder(folder)


def test_shards_with_an_index_are_whole(tmp_path: Path) -> None:
    folder = copy_stories(tmp_path / "model")
    header, _ = split_weights(folder / WEIGHTS)
    (folder / WEIGHTS).rename(folder / "model-00001-of-00001.safetensors")
    _index({name: "model-00001-of-00001.safetensors" for name in header if name != "__metadata__"})(folder)
    assert inspect_folder(folder).parameters == inspect_folder(STORIES).parameters


@pytest.mark.parametrize("other_name", ["mistral", "kimi_k2"])
def test_other_names_of_an_architecture_are_supported(other_name: str, tmp_path: Path) -> None:
    folder = copy_stories(tmp_path / "model")
    change_json(folder / "config.json", model_type=other_name)
    assert inspect_folder(folder).model_type == other_name


def test_supported_architectures_are_many_and_only_models() -> None:
    names = supported_model_types()
    assert {"llama", "qwen3", "gemma3", "mixtral", "mamba2", "deepseek_v3", "mistral", "nemotron-nas"} <= set(names)
    assert not {"base", "cache", "rope_utils", "switch_layers", "__init__", "ssm"} & set(names)


def test_end_tokens_come_from_all_files(tmp_path: Path) -> None:
    folder = copy_stories(tmp_path / "model")
    (folder / "generation_config.json").write_text('{"eos_token_id": [7, 8]}')
    change_json(folder / "config.json", eos_token_id=9)
    change_json(folder / "tokenizer_config.json", eos_token={"content": "<s>"})
    assert inspect_folder(folder).eos_token_ids == (7, 8, 9, 1)


def test_context_and_vocabulary_of_a_nested_text_model(tmp_path: Path) -> None:
    folder = copy_stories(tmp_path / "model")
    change_json(folder / "config.json", max_position_embeddings=None, vocab_size=None)
    change_json(folder / "tokenizer_config.json", model_max_length=10**30)
    assert (inspect_folder(folder).max_context, inspect_folder(folder).vocabulary) == (None, None)
    change_json(folder / "config.json", text_config={"max_position_embeddings": 640, "vocab_size": 77})
    assert (inspect_folder(folder).max_context, inspect_folder(folder).vocabulary) == (640, 77)
