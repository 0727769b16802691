"""Tiny random models, one per kind of cache and block, for the laws of the engine.

Each is the real mlx-lm definition of its architecture, in float32, with weights drawn from a fixed seed and scaled so that
attention is sharp, a greedy continuation does not fall into a short cycle at once, and the first two logits are rarely close.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import mlx.core as mx
from mlx import nn

VOCABULARY = 113
"""Prime, so that no id arithmetic in a test hits a multiple by accident."""
MAX_CONTEXT = 512
WINDOW = 16
"""Tokens of a sliding window: slides several times within 100 tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One tiny model. `module(ids, cache=...)` gives float32 logits of shape (batch, tokens, vocabulary)."""

    name: str
    module: nn.Module
    config: Mapping[str, object]
    vocabulary: int = VOCABULARY
    max_context: int = MAX_CONTEXT


def build(name: str, config: Mapping[str, object], *, seed: int = 0) -> Family:
    """A model of the architecture `config["model_type"]` with random float32 weights from `seed`, in evaluation mode."""
    definition = cast("Any", importlib.import_module(f"mlx_lm.models.{config['model_type']}"))
    module = cast("nn.Module", definition.Model(definition.ModelArgs.from_dict(dict(config))))
    tied = not any("lm_head" in path for path, _ in _parameters(module))
    key = mx.random.key(seed)
    weights: list[tuple[str, mx.array]] = []
    for path, value in _parameters(module):
        key, own = mx.random.split(key)
        weights.append((path, _draw(path, value.shape, own, tied=tied, zero_centred="gemma" in name)))
    module.load_weights(weights)
    module.eval()
    cast("Any", mx).eval(module.parameters())
    return Family(name=name, module=module, config=config)


def _parameters(module: nn.Module) -> list[tuple[str, mx.array]]:
    flatten = cast("Any", importlib.import_module("mlx.utils")).tree_flatten
    return cast("list[tuple[str, mx.array]]", flatten(module.parameters()))


def _draw(path: str, shape: tuple[int, ...], key: mx.array, *, tied: bool, zero_centred: bool) -> mx.array:
    noise = mx.random.normal(shape, key=key)
    leaf = path.rsplit(".", 1)[-1]
    if "embed_tokens" in path:
        return noise * (0.3 if tied else 1.0)  # a tied head would otherwise repeat the token it has just read
    if leaf == "A_log":
        return mx.log(mx.random.uniform(0.1, 2.0, shape, key=key))
    if leaf in {"sinks", "dt_bias"}:
        return noise * 0.5
    if len(shape) == 1 and leaf == "bias":
        return noise * 0.1
    if len(shape) == 1:
        return noise * 0.1 + (0.0 if zero_centred else 1.0)
    fan_in = shape[1] if "conv" in path else shape[-1]
    return noise * (gain(path) / fan_in**0.5)


def gain(path: str) -> float:
    """Sharp attention and a wide spread of logits keep random models from answering every context alike."""
    if "lm_head" in path:
        return 3.0
    if any(part in path for part in ("q_proj", "k_proj", "q_b_proj", "router", "gate.weight")):
        return 2.0
    return 1.5


_SIZES: dict[str, object] = {
    "vocab_size": VOCABULARY,
    "max_position_embeddings": MAX_CONTEXT,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
}
_EXPERTS: dict[str, object] = {
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "norm_topk_prob": True,
}
_YARN: dict[str, object] = {"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 256, "mscale": 1.0, "mscale_all_dim": 1.0}

CONFIGS: Mapping[str, Mapping[str, object]] = {
    "llama": {**_SIZES, "model_type": "llama", "num_hidden_layers": 3, "tie_word_embeddings": True},
    "qwen3": {**_SIZES, "model_type": "qwen3", "tie_word_embeddings": False},
    "gemma3": {
        **_SIZES,
        "model_type": "gemma3_text",
        "num_hidden_layers": 4,
        "sliding_window": WINDOW,
        "sliding_window_pattern": 3,
        "query_pre_attn_scalar": 16,
    },
    "gpt_oss": {
        **_SIZES,
        "model_type": "gpt_oss",
        "num_hidden_layers": 4,
        "intermediate_size": 32,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": WINDOW,
        "rope_scaling": None,
    },
    "qwen3_moe": {**_SIZES, **_EXPERTS, "model_type": "qwen3_moe", "tie_word_embeddings": False},
    "deepseek_v2": {
        **_SIZES,
        "model_type": "deepseek_v2",
        "num_key_value_heads": 4,
        "moe_intermediate_size": 32,
        "n_shared_experts": 1,
        "n_routed_experts": 8,
        "num_experts_per_tok": 2,
        "first_k_dense_replace": 1,
        "kv_lora_rank": 16,
        "q_lora_rank": 24,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 16,
        "v_head_dim": 12,
        "rope_scaling": _YARN,
    },
    "qwen3_next": {
        **_SIZES,
        **_EXPERTS,
        "model_type": "qwen3_next",
        "num_hidden_layers": 4,
        "full_attention_interval": 2,
        "partial_rotary_factor": 0.5,
        "shared_expert_intermediate_size": 32,
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "linear_conv_kernel_dim": 4,
        "tie_word_embeddings": False,
    },
    "lfm2": {
        **_SIZES,
        "model_type": "lfm2",
        "num_hidden_layers": 4,
        "norm_eps": 1e-5,
        "conv_bias": False,
        "conv_L_cache": 3,
        "block_dim": 48,
        "block_multiple_of": 8,
        "block_ffn_dim_multiplier": 1.0,
        "block_auto_adjust_ff_dim": False,
        "layer_types": ["conv", "full_attention", "conv", "full_attention"],
    },
    "falcon_h1": {
        **_SIZES,
        "model_type": "falcon_h1",
        "mamba_d_conv": 4,
        "mamba_d_head": 16,
        "mamba_d_ssm": 64,
        "mamba_d_state": 16,
        "mamba_n_groups": 1,
        "mamba_n_heads": 4,
        "tie_word_embeddings": False,
    },
    "mamba2": {
        **_SIZES,
        "model_type": "mamba2",
        "num_heads": 6,
        "state_size": 16,
        "layer_norm_epsilon": 1e-5,
        "conv_kernel": 4,
        "n_groups": 1,
        "use_bias": False,
        "use_conv_bias": True,
        "tie_word_embeddings": True,
        "time_step_limit": [0.0, 1e9],
        "time_step_rank": "auto",
    },
    "gemma2": {**_SIZES, "model_type": "gemma2"},
}

FAMILIES: Mapping[str, Callable[[], Family]] = {name: partial(build, name, config) for name, config in CONFIGS.items()}
"""Builders by name. llama, qwen3: full attention. gemma3, gpt_oss: sliding windows (gpt_oss with sinks and experts). qwen3_moe: experts.
deepseek_v2: latent attention, keys and values of different width. qwen3_next, lfm2, falcon_h1: recurrent state, in place of
attention in some layers (qwen3_next, lfm2), beside it in every layer (falcon_h1), or alone (mamba2). gemma2: mlx-lm 0.32's definition
mixes up the rows of a batch, so the engine must find out and step them one by one."""
