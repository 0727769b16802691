"""Tensors of a GGUF file as mlx-lm names and shapes them.

llama.cpp changes some when it converts, and this is undone here: rows of queries and keys of the architecture `llama` are permuted for
rotation in pairs (`LlamaModel.permute` of its convert_hf_to_gguf.py), Gemma's norms have 1 added.
"""

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import mlx.core as mx
import numpy as np

from pomona.core.errors import ModelUnusable
from pomona.models.convert.gguf.blocks import GROUP, bits_for, repack
from pomona.models.convert.gguf.config import Config
from pomona.models.convert.gguf.file import GgufFile, GgufTensor

PLAIN = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float32"}
_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_GEMMA = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_EXPERTS = {
    "ffn_gate_inp": "gate",
    "ffn_gate_exps": "switch_mlp.gate_proj",
    "ffn_up_exps": "switch_mlp.up_proj",
    "ffn_down_exps": "switch_mlp.down_proj",
}
_BY_TYPE: Mapping[str, Mapping[str, str]] = {
    "gemma2": _BLOCK | _GEMMA,
    "gemma3_text": _BLOCK | _GEMMA,
    "qwen3_moe": _BLOCK | {name: f"mlp.{place}" for name, place in _EXPERTS.items()},
    "mixtral": _BLOCK | {name: f"block_sparse_moe.{place}" for name, place in _EXPERTS.items()},
}
_IGNORED = frozenset({"rope_freqs.weight"})


def model_dtype(file: GgufFile) -> mx.Dtype:
    """The type of all that is not packed: of most plain matrices; bfloat16 where all are packed, whose range is that of float32."""
    held: dict[str, int] = {}
    for tensor in file.tensors():
        if len(tensor.shape) > 1:
            held[tensor.kind] = held.get(tensor.kind, 0) + tensor.data.nbytes
    largest = max(held, key=lambda kind: held[kind], default="F32")
    return getattr(mx, PLAIN.get(largest, "bfloat16"))


def convert_tensor(tensor: GgufTensor, file: GgufFile, config: Config, dtype: mx.Dtype) -> dict[str, mx.array]:
    """`tensor` under mlx-lm's name: the array, or packed weight, scales and biases. Empty for what mlx-lm computes itself.

    Raises ModelUnusable for a tensor that the architecture does not know.
    """
    if tensor.name in _IGNORED:
        return {}
    name = model_name(tensor.name, file, config)
    change = _undo(tensor.name, config)
    stem, _, leaf = name.rpartition(".")
    if tensor.kind not in PLAIN and leaf == "weight":
        return {key: change(array) for key, array in _packed(tensor, stem, dtype)}
    if tensor.kind not in PLAIN:
        return {name: change(_values(tensor).astype(dtype))}
    return {name: change(_plain(tensor)).astype(dtype)}


def model_name(name: str, file: GgufFile, config: Config) -> str:
    """mlx-lm's name of a tensor. Raises ModelUnusable."""
    block = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
    if block:
        place = _BY_TYPE.get(config["model_type"], _BLOCK).get(block[2])
        if place is not None:
            return f"model.layers.{block[1]}.{place}.{block[3]}"
    stem, _, leaf = name.rpartition(".")
    if stem not in _TOP:
        raise ModelUnusable(f"{file.path.name!r} has the tensor {name!r}, which a model of type {config['model_type']!r} does not have.")
    return f"{_TOP[stem]}.{leaf}"


def _packed(tensor: GgufTensor, stem: str, dtype: mx.Dtype) -> Iterator[tuple[str, mx.array]]:
    packed = repack(tensor.data, tensor.kind, dtype)
    if packed is None:
        weight, scales, biases = mx.quantize(_values(tensor).astype(dtype), group_size=GROUP, bits=bits_for(tensor.kind))
    else:
        weight, scales, biases, _ = packed
    yield from ((f"{stem}.weight", weight), (f"{stem}.scales", scales), (f"{stem}.biases", biases))


def _plain(tensor: GgufTensor) -> mx.array:
    if tensor.kind == "BF16":
        return mx.array(np.ascontiguousarray(tensor.data).view(np.uint16)).view(mx.bfloat16).reshape(tensor.shape)
    return mx.array(np.asarray(tensor.data, np.float32 if tensor.kind == "F64" else None)).reshape(tensor.shape)


def _values(tensor: GgufTensor) -> mx.array:
    library = cast("Any", importlib.import_module("gguf"))
    try:
        return mx.array(library.quants.dequantize(tensor.data, library.GGMLQuantizationType[tensor.kind])).reshape(tensor.shape)
    except NotImplementedError:
        raise ModelUnusable(f"The tensor {tensor.name!r} is packed as {tensor.kind}, which cannot be read.") from None


def _undo(name: str, config: Config) -> Callable[[mx.array], mx.array]:
    if str(config["model_type"]).startswith("gemma") and name.endswith("norm.weight"):
        return lambda array: array - 1
    for part, heads in (("attn_q", "num_attention_heads"), ("attn_k", "num_key_value_heads")):
        if config["model_type"] in {"llama", "mixtral"} and f".{part}." in name:
            return lambda array: _halves(array, config[heads])
    return lambda array: array


def _halves(rows: mx.array, heads: int) -> mx.array:
    """(heads * dim, …): from pairs (0, dim/2), (1, dim/2 + 1), … back to the first halves and then the second ones."""
    paired = rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:])
    return paired.swapaxes(1, 2).reshape(rows.shape)
