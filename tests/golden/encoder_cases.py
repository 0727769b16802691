"""The recorded encoders and rerankers: tiny random models, and what transformers and sentence-transformers compute with them.

Owns: their configurations, prompts, and reading a recorded folder. Does not own: recording (`record_encoders.py`), which needs torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import numpy as np

from pomona.core.status import Task
from pomona.models.device import use_device
from pomona.models.encoders.loading import load_vector_model
from pomona.models.encoders.model import VectorModel

REPOSITORY = Path(__file__).parents[2]
ENCODERS = REPOSITORY / "tests" / "data" / "encoders"
CACHE = REPOSITORY / ".pytest_cache"
VOCABULARY = 113
PROMPT_TOKENS = (3, 24, 61)
TOLERANCE = 1e-4
"""Largest difference of two numbers of a hidden state, a vector or a logit, absolute."""
SECOND = 9
"""In pairs, where the second text begins."""

_SIZES: dict[str, object] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 96,
    "initializer_range": 0.2,
}
_BERT = {**_SIZES, "model_type": "bert", "hidden_act": "gelu", "type_vocab_size": 2, "pad_token_id": 0, "layer_norm_eps": 1e-12}
_ROBERTA = {**_SIZES, "model_type": "xlm-roberta", "type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-5}
_MODERN = {
    **_SIZES,
    "model_type": "modernbert",
    "hidden_activation": "gelu",
    "local_attention": 16,
    "global_attn_every_n_layers": 2,
    "global_rope_theta": 160000.0,
    "local_rope_theta": 10000.0,
    "norm_eps": 1e-5,
    "pad_token_id": 0,
}
_QWEN3 = {**_SIZES, "model_type": "qwen3", "num_key_value_heads": 2, "head_dim": 8, "rms_norm_eps": 1e-6, "rope_theta": 10000.0}
_GEMMA3 = {
    **_SIZES,
    "model_type": "gemma3_text",
    "hidden_activation": "gelu_pytorch_tanh",
    "num_hidden_layers": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "query_pre_attn_scalar": 8,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "rope_local_base_freq": 10000.0,
    "sliding_window": 16,
    "sliding_window_pattern": 2,
    "use_bidirectional_attention": True,
}
_ONE_LABEL = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}

CONFIGS: Mapping[str, Mapping[str, object]] = {
    "bert": {**_BERT, "architectures": ["BertModel"]},
    "xlm-roberta": {**_ROBERTA, "architectures": ["XLMRobertaModel"]},
    "modernbert": {**_MODERN, "architectures": ["ModernBertModel"]},
    "qwen3-embedding": {**_QWEN3, "architectures": ["Qwen3Model"], "tie_word_embeddings": True},
    "gemma3-embedding": {**_GEMMA3, "architectures": ["Gemma3TextModel"], "tie_word_embeddings": True},
    "bert-reranker": {**_BERT, **_ONE_LABEL, "architectures": ["BertForSequenceClassification"]},
    "xlm-roberta-reranker": {**_ROBERTA, **_ONE_LABEL, "architectures": ["XLMRobertaForSequenceClassification"]},
    "modernbert-reranker": {
        **_MODERN,
        **_ONE_LABEL,
        "architectures": ["ModernBertForSequenceClassification"],
        "classifier_pooling": "mean",
    },
    "qwen3-reranker": {**_QWEN3, "architectures": ["Qwen3ForCausalLM"], "tie_word_embeddings": True},
    "qwen3-classifier": {**_QWEN3, **_ONE_LABEL, "architectures": ["Qwen3ForSequenceClassification"], "pad_token_id": 0},
}
"""Configurations as published checkpoints write them."""
NAMES = tuple(CONFIGS)
YES, NO = 7, 11
POOLING_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderGolden:
    """One recorded model. `hidden[i]` (tokens, width) belongs to prompt i; `logits` (prompts,) only of rerankers.

    `pooled` are sentence-transformers' vectors of prompt 1, by mode; `dense` that of the mean through a Dense step and Normalize.
    """

    name: str
    folder: Path
    task: Task
    prompts: tuple[tuple[int, ...], ...]
    hidden: tuple[Floats, ...]
    logits: Floats | None
    pooled: Mapping[str, Floats]


def task_of_case(name: str) -> Task:
    """What the model is for."""
    return "rerank" if "reranker" in name or "classifier" in name else "embed"


def read_encoder_golden(name: str) -> EncoderGolden:
    """The recorded golden `name`, one of `NAMES`."""
    folder = ENCODERS / name
    loaded = cast("dict[str, mx.array]", mx.load(str(folder / "golden.safetensors")))
    found: dict[str, Any] = {key: np.array(value) for key, value in loaded.items()}
    count = len(PROMPT_TOKENS)
    return EncoderGolden(
        name=name,
        folder=folder,
        task=task_of_case(name),
        prompts=tuple(tuple(int(token) for token in found[f"prompt{index}"]) for index in range(count)),
        hidden=tuple(found[f"hidden{index}"] for index in range(count)),
        logits=found.get("logits"),
        pooled={mode: found[f"pooled.{mode}"] for mode in (*POOLING_MODES, "dense") if f"pooled.{mode}" in found},
    )


def load_case(folder: Path, task: Task, *, plain: bool = False) -> VectorModel:
    """The model of `folder` on the CPU; `plain`: without the C functions, as on GPUs."""
    cache = CACHE / "nowhere" if plain else CACHE
    return load_vector_model(folder, task, use_device("cpu"), dequantize_on_cpu=not plain, cache_folder=cache)
