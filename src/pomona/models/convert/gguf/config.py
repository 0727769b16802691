"""The config.json that a GGUF file stands for, as Hugging Face's checkpoints of the same architecture write it.

Keys: llama.cpp, docs/gguf.md and src/llama-model.cpp (`load_hparams`).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pomona.core.errors import ModelUnusable
from pomona.models.convert.gguf.file import GgufFile

Config = dict[str, Any]
LLAMA3_TOLERANCE = 1e-3
GEMMA2_27B_LAYERS, GEMMA3_27B_LAYERS = 46, 62


def read_config(file: GgufFile) -> Config:
    """The configuration. Raises ModelUnusable for architectures that are not known here, and for scalings that cannot be expressed."""
    build = _BUILDERS.get(file.architecture)
    if build is None:
        raise ModelUnusable(
            f"{file.path.name!r} holds a model of architecture {file.architecture!r}, which cannot be converted. "
            f"Known ones: {', '.join(sorted(_BUILDERS))}. Models in safetensors (`pomona search`) need no conversion."
        )
    return build(file)


def _decoder(file: GgufFile, model_type: str, architecture: str) -> Config:
    prefix, heads = file.architecture, int(file.number(f"{file.architecture}.attention.head_count"))
    hidden = int(file.number(f"{prefix}.embedding_length"))
    config: Config = {
        "architectures": [architecture],
        "model_type": model_type,
        "hidden_size": hidden,
        "num_hidden_layers": int(file.number(f"{prefix}.block_count")),
        "intermediate_size": int(file.number(f"{prefix}.feed_forward_length", 0)),
        "num_attention_heads": heads,
        "num_key_value_heads": int(file.number(f"{prefix}.attention.head_count_kv", heads)),
        "head_dim": int(file.number(f"{prefix}.attention.key_length", hidden // heads)),
        "rms_norm_eps": round(file.number(f"{prefix}.attention.layer_norm_rms_epsilon"), 12),
        "rope_theta": file.number(f"{prefix}.rope.freq_base", 10000.0),
        "max_position_embeddings": int(file.number(f"{prefix}.context_length")),
        "vocab_size": _vocabulary(file),
        "tie_word_embeddings": "output.weight" not in file.tensor_names,
    }
    scaling = _rope_scaling(file, config)
    return config | ({"rope_scaling": scaling} if scaling else {}) | _special_ids(file)


def _llama(file: GgufFile) -> Config:
    experts = int(file.number("llama.expert_count", 0))
    if experts:
        config = _decoder(file, "mixtral", "MixtralForCausalLM")
        return config | {"num_local_experts": experts, "num_experts_per_tok": int(file.number("llama.expert_used_count"))}
    config = _decoder(file, "llama", "LlamaForCausalLM")
    return config | {
        "attention_bias": "blk.0.attn_q.bias" in file.tensor_names,
        "mlp_bias": "blk.0.ffn_up.bias" in file.tensor_names,
        "hidden_act": "silu",
    }


def _qwen2(file: GgufFile) -> Config:
    config = _decoder(file, "qwen2", "Qwen2ForCausalLM")
    del config["head_dim"]  # always hidden_size / heads there
    return config


def _qwen3(file: GgufFile) -> Config:
    return _decoder(file, "qwen3", "Qwen3ForCausalLM") | {"attention_bias": False}


def _qwen3_moe(file: GgufFile) -> Config:
    return _decoder(file, "qwen3_moe", "Qwen3MoeForCausalLM") | {
        "num_experts": int(file.number("qwen3moe.expert_count")),
        "num_experts_per_tok": int(file.number("qwen3moe.expert_used_count")),
        "moe_intermediate_size": int(file.number("qwen3moe.expert_feed_forward_length")),
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "norm_topk_prob": True,
    }


def _gemma2(file: GgufFile) -> Config:
    config = _decoder(file, "gemma2", "Gemma2ForCausalLM")
    return config | {
        "attn_logit_softcapping": file.number("gemma2.attn_logit_softcapping", 50.0),
        "final_logit_softcapping": file.number("gemma2.final_logit_softcapping", 30.0),
        "sliding_window": int(file.number("gemma2.attention.sliding_window", 4096)),
        "query_pre_attn_scalar": _query_scalar(config, GEMMA2_27B_LAYERS),
        "hidden_activation": "gelu_pytorch_tanh",
    }


def _gemma3(file: GgufFile) -> Config:
    config = _decoder(file, "gemma3_text", "Gemma3ForCausalLM")
    return config | {
        "sliding_window": int(file.number("gemma3.attention.sliding_window")),
        "sliding_window_pattern": 6,
        "rope_local_base_freq": 10000.0,
        "query_pre_attn_scalar": _query_scalar(config, GEMMA3_27B_LAYERS),
        "hidden_activation": "gelu_pytorch_tanh",
    }


def _query_scalar(config: Mapping[str, Any], layers_of_27b: int) -> int:
    """What attention is divided by the root of: the head's size, but for models of 27 billion weights, told apart as llama.cpp does."""
    of_27b = config["num_hidden_layers"] == layers_of_27b
    return config["hidden_size"] // config["num_attention_heads"] if of_27b else config["head_dim"]


def _vocabulary(file: GgufFile) -> int:
    """Rows of the embedding: there may be more of them than tokens."""
    embedding = file.tensor("token_embd.weight")
    if embedding is None:
        raise ModelUnusable(f"The file {str(file.path)!r} has no tensor token_embd.weight. It is a part of a model, or no language model.")
    return embedding.shape[0]


def _special_ids(file: GgufFile) -> Config:
    ends = [int(file.number(f"tokenizer.ggml.{name}_token_id")) for name in ("eos", "eot") if f"tokenizer.ggml.{name}_token_id" in file]
    found: Config = {"eos_token_id": ends[0] if len(ends) == 1 else list(dict.fromkeys(ends))} if ends else {}
    if "tokenizer.ggml.bos_token_id" in file:
        found["bos_token_id"] = int(file.number("tokenizer.ggml.bos_token_id"))
    return found


def _rope_scaling(file: GgufFile, config: Config) -> Config | None:
    prefix = f"{file.architecture}.rope.scaling"
    kind = file.text(f"{prefix}.type", "none")
    if "rope_freqs.weight" in file.tensor_names:
        return _llama3_scaling(file, config)
    if kind == "none" and f"{prefix}.factor" in file:
        kind = "linear"
    if kind == "none":
        return None
    if kind not in {"linear", "yarn"}:
        raise ModelUnusable(f"{file.path.name!r} scales its positions by {kind!r}; none, linear, yarn and llama3 can be converted.")
    scaling: Config = {"type": kind, "rope_type": kind, "factor": file.number(f"{prefix}.factor")}
    if kind == "yarn":
        scaling["original_max_position_embeddings"] = int(file.number(f"{prefix}.original_context_length"))
    return scaling


def _llama3_scaling(file: GgufFile, config: Config) -> Config:
    """Llama 3.1's rule, known in the file by its outcome alone: a divisor for each frequency, made with these constants by all of them."""
    tensor = file.tensor("rope_freqs.weight")
    stored = np.zeros(0) if tensor is None else np.asarray(tensor.data, np.float32).reshape(-1)
    factor = float(round(float(stored.max(initial=1.0)), 3))
    scaling: Config = {"rope_type": "llama3", "type": "llama3", "factor": factor}
    scaling |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    expected = [_llama3_divisor(index, config, scaling) for index in range(config["head_dim"] // 2)]
    if stored.shape != (len(expected),) or not np.allclose(stored, expected, rtol=LLAMA3_TOLERANCE):
        raise ModelUnusable(f"{file.path.name!r} scales its positions by a table (rope_freqs.weight) that is not Llama 3.1's.")
    return scaling


def _llama3_divisor(index: int, config: Config, scaling: Config) -> float:
    """transformers, modeling_rope_utils.py, `_compute_llama3_parameters`."""
    length = 2 * math.pi * config["rope_theta"] ** (2 * index / config["head_dim"])
    context, low, high = scaling["original_max_position_embeddings"], scaling["low_freq_factor"], scaling["high_freq_factor"]
    if length < context / high:
        return 1.0
    if length > context / low:
        return scaling["factor"]
    smooth = (context / length - low) / (high - low)
    return 1 / ((1 - smooth) / scaling["factor"] + smooth)


_BUILDERS: Mapping[str, Callable[[GgufFile], Config]] = {
    "llama": _llama,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "qwen3moe": _qwen3_moe,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
}
