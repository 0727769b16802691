"""GGUF files made by llama.cpp's converter give the models that they were made of."""

import importlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import numpy as np
import pytest
from tokenizers import Tokenizer

from pomona.core.errors import Conflict, InvalidRequest, ModelUnusable
from pomona.models.convert.gguf.convert import convert_gguf
from pomona.models.validation import inspect_folder
from pomona.text.tokenizer_loading import load_tokenizer
from tests.golden.cases import REPOSITORY, TOLERANCE, load_forward, read_golden

FILES = REPOSITORY / "tests" / "data" / "gguf"
STORIES = REPOSITORY / "tests" / "data" / "stories260K"
GGUF = cast("Any", importlib.import_module("gguf"))
TEXTS = ("Once upon a time, there was a girl.", "  two  blanks\n\nand lines", "Ünïcödé 漢字 🎉", "")


def quietly(done: int, total: int, what: str) -> None:
    """Nobody watches."""
    assert 0 <= done <= total
    assert what


@pytest.mark.parametrize("name", ["llama", "qwen3", "qwen3_moe"])
def test_the_model_is_the_one_that_transformers_knows(name: str, tmp_path: Path) -> None:
    golden = read_golden(name)

    convert_gguf(FILES / f"{name}.gguf", tmp_path / name, None, quietly)

    forward = load_forward(tmp_path / name)
    for ids, logits in zip(golden.prompts, golden.logits, strict=True):
        assert float(mx.abs(forward(mx.array([ids]))[0, -logits.shape[0] :] - logits).max()) < TOLERANCE


@pytest.mark.parametrize("name", ["gemma2", "gemma3"])
def test_norms_of_gemma_lose_the_one_that_was_added(name: str, tmp_path: Path) -> None:
    expected = cast("dict[str, mx.array]", mx.load(str(FILES / "logits.safetensors")))[name]

    convert_gguf(FILES / f"{name}.gguf", tmp_path / name, None, quietly)

    logits = load_forward(tmp_path / name)(mx.array([[(index * 37 + 5) % 110 + 3 for index in range(24)]]))[0, -1]
    assert float(mx.abs(logits - expected).max()) < TOLERANCE


def test_a_sentencepiece_vocabulary_cuts_texts_as_its_own_tokenizer_does(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "stories.gguf", {}, tokenizer=FILES / "stories260K-vocabulary.gguf")

    convert_gguf(path, tmp_path / "model", None, quietly)

    ours, theirs = load_tokenizer(tmp_path / "model"), load_tokenizer(STORIES)
    for text in TEXTS:
        assert ours.encode(text, add_special_tokens=True) == theirs.encode(text, add_special_tokens=True)


def test_a_byte_level_vocabulary_keeps_merges_special_tokens_and_template(tmp_path: Path) -> None:
    source = Tokenizer.from_file(str(REPOSITORY / "src/pomona/models/bundled/pomona-tiny/tokenizer.json"))
    path = write_gguf(tmp_path / "bytes.gguf", byte_level_fields(source))

    convert_gguf(path, tmp_path / "model", None, quietly)

    ours = load_tokenizer(tmp_path / "model")
    for text in (*TEXTS, "<|im_start|>user\nIt's 2026<|im_end|>"):
        assert ours.encode(text, add_special_tokens=True) == source.encode(text).ids
    assert (tmp_path / "model" / "chat_template.jinja").read_text() == "{{ messages }}"
    assert inspect_folder(tmp_path / "model").eos_token_ids == (source.token_to_id("<|im_end|>"),)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q5_1"])
def test_packed_weights_stay_packed(kind: str, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "packed.gguf", {}, kind=kind)
    matrix = next(tensor for tensor in GGUF.GGUFReader(path).tensors if tensor.name == "blk.1.ffn_up.weight")

    convert_gguf(path, tmp_path / "model", None, quietly)

    facts = inspect_folder(tmp_path / "model")
    bits = {"Q8_0": 8, "Q4_0": 4, "Q5_1": 5}[kind]
    assert facts.quantization is not None
    assert facts.quantization.startswith(f"{bits}-bit affine")
    tensors = cast("dict[str, mx.array]", mx.load(str(tmp_path / "model" / "model.safetensors")))
    stem = "model.layers.1.mlp.up_proj"
    values = mx.dequantize(tensors[f"{stem}.weight"], tensors[f"{stem}.scales"], tensors[f"{stem}.biases"], group_size=32, bits=bits)
    expected = GGUF.quants.dequantize(matrix.data, matrix.tensor_type)
    assert mx.allclose(values, mx.array(expected), rtol=0, atol=float(np.abs(expected).max()) / 64).item()  # scales are bfloat16
    assert load_forward(tmp_path / "model")(mx.array([[5, 6, 7]])).shape == (1, 3, 113)


def test_plain_weights_are_packed_on_demand(tmp_path: Path) -> None:
    convert_gguf(FILES / "gemma2.gguf", tmp_path / "model", "mxfp4", quietly)

    assert inspect_folder(tmp_path / "model").quantization == "4-bit mxfp4, groups of 32"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_packed_weights_are_not_packed_again(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "packed.gguf", {}, kind="Q8_0")

    with pytest.raises(InvalidRequest, match="quantised already"):
        convert_gguf(path, tmp_path / "model", "4bit", quietly)


def test_llama_3_scaling_is_known_by_its_table(tmp_path: Path) -> None:
    lengths = [2 * np.pi * 500_000.0 ** (2 * index / 8) for index in range(4)]
    table = np.array([llama3_divisor(length) for length in lengths], np.float32)
    path = write_gguf(tmp_path / "llama3.gguf", {"llama.rope.freq_base": 500_000.0}, extra={"rope_freqs.weight": table})

    convert_gguf(path, tmp_path / "model", None, quietly)

    written = json.loads((tmp_path / "model" / "config.json").read_text())
    assert written["rope_scaling"]["rope_type"] == "llama3"
    assert written["rope_scaling"]["factor"] == 8.0


def test_an_unknown_scaling_is_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "odd.gguf", {}, extra={"rope_freqs.weight": np.array([1, 3, 2, 8], np.float32)})

    with pytest.raises(ModelUnusable, match=r"rope_freqs\.weight.*not Llama 3\.1's"):
        convert_gguf(path, tmp_path / "model", None, quietly)


def test_what_cannot_be_converted_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes((FILES / "llama.gguf").read_bytes()[:20_000])
    other = write_gguf(tmp_path / "other.gguf", {"general.architecture": "mamba"})
    strange = write_gguf(tmp_path / "strange.gguf", {}, extra={"blk.0.attn_magic.weight": np.zeros((2, 2), np.float32)})
    before = sorted(tmp_path.iterdir())

    for path, reason in ((cut, "cannot be read as GGUF"), (other, "'mamba'.*llama, qwen2"), (strange, "attn_magic"), (tmp_path, "no file")):
        with pytest.raises(ModelUnusable, match=reason):
            convert_gguf(path, tmp_path / "model", None, quietly)
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()

    with pytest.raises(Conflict, match="exists already"):
        convert_gguf(FILES / "gemma2.gguf", tmp_path / "model", None, quietly)


def llama3_divisor(length: float) -> float:
    """Llama 3.1's rule with its own constants and factor 8."""
    if length < 8192 / 4:
        return 1.0
    if length > 8192:
        return 8.0
    smooth = (8192 / length - 1) / 3
    return 1 / ((1 - smooth) / 8 + smooth)


def byte_level_fields(source: Tokenizer) -> dict[str, Any]:
    """The entries of a GGUF file for a byte-level tokenizer."""
    model = json.loads(source.to_str())["model"]
    count = source.get_vocab_size()
    special = {token_id for token_id, token in source.get_added_tokens_decoder().items() if token.special}
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": [source.id_to_token(index) for index in range(count)],
        "tokenizer.ggml.token_type": [3 if index in special else 1 for index in range(count)],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in model["merges"]],
        "tokenizer.ggml.eos_token_id": source.token_to_id("<|im_end|>"),
        "tokenizer.chat_template": "{{ messages }}",
    }


def write_gguf(
    path: Path,
    fields: Mapping[str, Any],
    *,
    kind: str | None = None,
    tokenizer: Path | None = None,
    extra: Mapping[str, np.ndarray[Any, Any]] | None = None,
) -> Path:
    """`llama.gguf` again, with other `fields`, its matrices packed as `kind`, the tokenizer of another file, further tensors."""
    reader = GGUF.GGUFReader(FILES / "llama.gguf")
    source = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    if tokenizer is not None:
        words = GGUF.GGUFReader(tokenizer).fields
        source = {key: field for key, field in source.items() if not key.startswith("tokenizer.")}
        source |= {key: field for key, field in words.items() if key.startswith("tokenizer.")}
    values = {key: field.contents() for key, field in source.items()} | dict(fields)
    writer = GGUF.GGUFWriter(path, values.pop("general.architecture"))
    for key, value in values.items():
        add = {str: writer.add_string, bool: writer.add_bool, float: writer.add_float32, int: writer.add_uint32, list: writer.add_array}
        add[type(value)](key, value)
    for tensor in reader.tensors:
        if kind is not None and len(tensor.shape) > 1:
            packing = GGUF.GGMLQuantizationType[kind]
            writer.add_tensor(tensor.name, GGUF.quants.quantize(tensor.data, packing), raw_dtype=packing)
        else:
            writer.add_tensor(tensor.name, np.array(tensor.data))
    for name, array in (extra or {}).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    shutil.rmtree(path.with_suffix(""), ignore_errors=True)
    return path
