"""What the goldens are: models, prompts, and the logits that transformers gives for them.

Owns: the configurations of the recorded models, the prompts, reading a recorded folder. Does not own: recording (`record.py`),
which needs torch. Start reading at `Golden`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import mlx.core as mx

from pomona.models.device import use_device
from pomona.models.loading import load
from pomona.models.references import ResolvedModel
from tests.families import CONFIGS

REPOSITORY = Path(__file__).parents[2]
GOLDEN = REPOSITORY / "tests" / "data" / "golden"
PROMPT_TOKENS = (5, 24, 61)
"""Lengths of the prompts: the last is several sliding windows long. Of the first the logits of all positions are kept."""
GREEDY_TOKENS = 24
TOLERANCE = 1e-4
"""Largest difference of two float32 logits, absolute. Logits of the recorded models reach about ±12."""
WEIGHTS = {"stories260K": "tests/data/stories260K", "pomona-tiny": "src/pomona/models/bundled/pomona-tiny"}
"""Trained models, by the folder their weights lie in; those of the random ones lie beside the logits."""

_SMALL: dict[str, object] = {"hidden_size": 32, "intermediate_size": 64, "head_dim": 8}

RANDOM: Mapping[str, Mapping[str, object]] = {
    "llama": {**CONFIGS["llama"], **_SMALL, "rope_theta": 5000.0},
    "qwen3": {**CONFIGS["qwen3"], **_SMALL, "rope_theta": 5000.0},
    "gemma3": {
        **CONFIGS["gemma3"],
        **_SMALL,
        "hidden_size": 36,  # mlx-lm rounds its root, which scales the embeddings, to bfloat16; 6 survives that
        "query_pre_attn_scalar": 12,
        "rope_local_base_freq": 3000.0,
        "hidden_activation": "gelu_pytorch_tanh",
    },
    "qwen3_moe": {**CONFIGS["qwen3_moe"], **_SMALL, "num_experts": 4, "moe_intermediate_size": 16},
    "qwen3_next": {
        **CONFIGS["qwen3_next"],
        **_SMALL,
        "num_experts": 4,
        "moe_intermediate_size": 16,
        "linear_num_value_heads": 2,
        "linear_num_key_heads": 1,
        "linear_value_head_dim": 16,
    },
    "deepseek_v2": {**CONFIGS["deepseek_v2"], **_SMALL, "n_routed_experts": 4, "moe_intermediate_size": 16},
    "lfm2": {**CONFIGS["lfm2"], **_SMALL, "block_dim": 32},
    "falcon_h1": {
        **CONFIGS["falcon_h1"],
        **_SMALL,
        "mamba_d_head": 16,
        "mamba_d_ssm": 64,
        "mamba_chunk_size": 32,
        "embedding_multiplier": 2.0,
        "lm_head_multiplier": 0.5,
        "key_multiplier": 1.0,  # mlx-lm 0.32.2 never applies this one: it looks for weights named key_proj, not k_proj
        "attention_in_multiplier": 1.0,  # and this one to queries and keys only, not to values
        "attention_out_multiplier": 0.9,
        "ssm_in_multiplier": 1.25,
        "ssm_out_multiplier": 0.5,
        "mlp_multipliers": [0.9, 0.6],
        "ssm_multipliers": [0.5, 0.75, 0.5, 0.8, 0.6],
    },
}
"""Configurations as published checkpoints write them, which transformers and mlx-lm both read."""

Forward = Callable[[mx.array], mx.array]

NAMES = (*RANDOM, *WEIGHTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """One recorded model. `logits[i]` are those of prompt `i`: of all positions for the first, of the last position otherwise."""

    name: str
    model_folder: Path
    prompts: tuple[tuple[int, ...], ...]
    logits: tuple[mx.array, ...]  # (tokens or 1, vocabulary), float32
    greedy: tuple[int, ...]
    """The ids that follow the last prompt under greedy decoding."""


def read_golden(name: str) -> Golden:
    """The recorded golden `name`, one of `NAMES`."""
    facts = cast("dict[str, list[list[int]]]", json.loads((GOLDEN / name / "golden.json").read_text()))
    logits = cast("dict[str, mx.array]", mx.load(str(GOLDEN / name / "logits.safetensors")))
    return Golden(
        name=name,
        model_folder=REPOSITORY / WEIGHTS[name] if name in WEIGHTS else GOLDEN / name,
        prompts=tuple(tuple(ids) for ids in facts["prompts"]),
        logits=tuple(logits[f"prompt{index}"] for index in range(len(facts["prompts"]))),
        greedy=tuple(facts["greedy"][0]),
    )


def load_forward(folder: Path) -> Forward:
    """The model of `folder`, loaded as Pomona does: a function from ids (batch, tokens) to float32 logits (batch, tokens, vocabulary)."""
    found = ResolvedModel(id=folder.name, path=folder, kind="folder", reference=str(folder))
    return cast("Forward", load(found, use_device("cpu")).module)
