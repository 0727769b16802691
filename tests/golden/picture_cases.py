"""Goldens with pictures: tiny vision models, prompts with pictures, and the logits that transformers gives for them.

Owns: configurations, reading a recorded folder. Does not own: recording (`record_pictures.py`), which needs torch. Start reading at
`PictureGolden`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

import mlx.core as mx

from pomona.core.generation import Prompt, PromptPicture, SamplingParams
from tests.golden.cases import REPOSITORY

PICTURE_GOLDEN = REPOSITORY / "tests" / "data" / "golden_pictures"
VOCABULARY = 120
SPECIAL = {112: "<picture>", 113: "<begin>", 114: "<end>", 115: "<break>"}
PICTURE, BEGIN, END, BREAK = SPECIAL
GREEDY_TOKENS = 12

_TEXT: dict[str, object] = {
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 512,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "rope_theta": 5000.0,
    "tie_word_embeddings": False,
}
_CLIP: dict[str, object] = {
    "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 24, "patch_size": 6,
    "num_channels": 3, "layer_norm_eps": 1e-5, "attention_dropout": 0.0,
}  # fmt: skip
_PIXTRAL: dict[str, object] = {
    "model_type": "pixtral", "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 16,
    "image_size": 48, "patch_size": 4, "num_channels": 3, "rope_theta": 10000.0, "hidden_act": "gelu", "attention_dropout": 0.0,
}  # fmt: skip
_QWEN_IDS: dict[str, object] = {
    "image_token_id": PICTURE, "video_token_id": 116, "vision_start_token_id": BEGIN, "vision_end_token_id": END,
    "tie_word_embeddings": False,
}  # fmt: skip
_QWEN3_VISION: dict[str, object] = {
    "depth": 3, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "patch_size": 4, "spatial_merge_size": 2,
    "temporal_patch_size": 2, "in_channels": 3, "hidden_act": "gelu_pytorch_tanh", "out_hidden_size": 32, "num_position_embeddings": 36,
    "deepstack_visual_indexes": [0, 1],
}  # fmt: skip

CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "qwen2_vl": {
        "model_type": "qwen2_vl",
        **_QWEN_IDS,
        "text_config": {**_TEXT, "model_type": "qwen2_vl_text", "rope_scaling": {"type": "mrope", "mrope_section": [2, 1, 1]}},
        "vision_config": {
            "depth": 2,
            "embed_dim": 32,
            "hidden_size": 32,
            "mlp_ratio": 2,
            "num_heads": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "in_channels": 3,
            "hidden_act": "quick_gelu",
        },
    },
    "qwen2_5_vl": {
        "model_type": "qwen2_5_vl",
        **_QWEN_IDS,
        "text_config": {**_TEXT, "model_type": "qwen2_5_vl_text", "rope_scaling": {"type": "mrope", "mrope_section": [2, 1, 1]}},
        "vision_config": {
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 40,
            "num_heads": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "in_channels": 3,
            "hidden_act": "silu",
            "out_hidden_size": 32,
            "window_size": 16,
            "fullatt_block_indexes": [1],
            "tokens_per_second": 2,
        },
    },
    "llava": {
        "model_type": "llava",
        "image_token_index": PICTURE,
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "projector_hidden_act": "gelu",
        "text_config": {**_TEXT, "model_type": "llama"},
        "vision_config": {**_CLIP, "model_type": "clip_vision_model", "hidden_act": "quick_gelu", "projection_dim": 24},
    },
    "llava_siglip_qwen2": {
        "model_type": "llava",
        "image_token_index": PICTURE,
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
        "projector_hidden_act": "gelu",
        "text_config": {**_TEXT, "model_type": "qwen2"},
        "vision_config": {**_CLIP, "model_type": "siglip_vision_model", "hidden_act": "gelu_pytorch_tanh", "vision_use_head": False},
    },
    "gemma3": {
        "model_type": "gemma3",
        "image_token_index": PICTURE,
        "boi_token_index": BEGIN,
        "eoi_token_index": END,
        "mm_tokens_per_image": 4,
        "vocab_size": VOCABULARY,
        "text_config": {
            **_TEXT,
            "model_type": "gemma3_text",
            "hidden_size": 36,  # as in cases.py
            "head_dim": 8,
            "num_hidden_layers": 3,
            "sliding_window": 16,
            "sliding_window_pattern": 3,
            "query_pre_attn_scalar": 12,
            "rope_local_base_freq": 3000.0,
            "hidden_activation": "gelu_pytorch_tanh",
            "tie_word_embeddings": True,
        },
        "vision_config": {**_CLIP, "model_type": "siglip_vision_model", "hidden_act": "gelu_pytorch_tanh", "vision_use_head": False},
    },
    "pixtral": {
        "model_type": "llava",
        "image_token_index": PICTURE,
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
        "projector_hidden_act": "gelu",
        "text_config": {**_TEXT, "model_type": "mistral", "head_dim": 8, "sliding_window": None},
        "vision_config": _PIXTRAL,
    },
    "mistral3": {
        "model_type": "mistral3",
        "image_token_index": PICTURE,
        "vision_feature_layer": -1,
        "spatial_merge_size": 2,
        "multimodal_projector_bias": False,
        "projector_hidden_act": "gelu",
        "text_config": {**_TEXT, "model_type": "mistral", "head_dim": 8, "sliding_window": None},
        "vision_config": {**_PIXTRAL, "hidden_act": "silu"},
    },
    "qwen3_vl": {
        "model_type": "qwen3_vl",
        **_QWEN_IDS,
        "text_config": {
            **_TEXT,
            "model_type": "qwen3_vl_text",
            "head_dim": 12,
            "num_hidden_layers": 3,
            "rope_scaling": {"rope_type": "default", "mrope_section": [2, 2, 2], "mrope_interleaved": True},
        },
        "vision_config": {**_QWEN3_VISION, "model_type": "qwen3_vl"},
    },
    "qwen3_vl_moe": {
        "model_type": "qwen3_vl_moe",
        **_QWEN_IDS,
        "text_config": {
            **_TEXT,
            "model_type": "qwen3_vl_moe_text",
            "head_dim": 8,
            "num_hidden_layers": 2,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
            "norm_topk_prob": True,
            "rope_scaling": {"rope_type": "default", "mrope_section": [2, 1, 1], "mrope_interleaved": True},
        },
        "vision_config": {**_QWEN3_VISION, "model_type": "qwen3_vl_moe"},
    },
}
"""Configurations as published checkpoints write them, with towers that take pictures of a few patches."""

PROCESSORS: Mapping[str, Mapping[str, Any]] = {
    "qwen2_vl": {"image_processor_type": "Qwen2VLImageProcessor", "patch_size": 4, "min_pixels": 64, "max_pixels": 4096},
    "qwen2_5_vl": {"image_processor_type": "Qwen2VLImageProcessor", "patch_size": 4, "min_pixels": 64, "max_pixels": 4096},
    "llava": {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}},
    "llava_siglip_qwen2": {"image_processor_type": "SiglipImageProcessor", "size": {"height": 24, "width": 24}},
    "gemma3": {"image_processor_type": "Gemma3ImageProcessor", "size": {"height": 24, "width": 24}},
    "pixtral": {
        "image_processor_type": "PixtralImageProcessor",
        "size": {"longest_edge": 64},
        "patch_size": {"height": 4, "width": 4},
    },
    "mistral3": {
        "image_processor_type": "PixtralImageProcessor",
        "size": {"longest_edge": 64},
        "patch_size": {"height": 8, "width": 8},
    },
    "qwen3_vl": {
        "image_processor_type": "Qwen2VLImageProcessor",
        "patch_size": 4,
        "size": {"shortest_edge": 64, "longest_edge": 4096},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    },
}
"""Of preprocessor_config.json."""
MARKS = {"image_break_token": "<break>", "image_end_token": "<end>", "patch_size": 4}
"""Of processor_config.json, for Pixtral."""
PICTURE_NAMES = tuple(CONFIGS)


def processor_of(name: str) -> Mapping[str, Any]:
    """The preprocessor settings of a golden."""
    return PROCESSORS[name.removesuffix("_moe")]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PicturePrompt:
    """Ids with pictures among them, the logits of all positions, and the ids that follow under greedy decoding."""

    token_ids: tuple[int, ...]
    pictures: tuple[PromptPicture, ...]
    logits: mx.array  # (tokens, vocabulary), float32
    greedy: tuple[int, ...]

    def prompt(self, row: str, sampling: SamplingParams, *, scored: int | None = None, max_tokens: int = GREEDY_TOKENS) -> Prompt:
        """As a request."""
        return Prompt(
            id=row, token_ids=self.token_ids, sampling=sampling, max_tokens=max_tokens, prompt_logprobs=scored, pictures=self.pictures
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PictureGolden:
    """One recorded model: prompts with no picture, one, two."""

    name: str
    folder: Path
    prompts: tuple[PicturePrompt, ...]


def read_picture_golden(name: str) -> PictureGolden:
    """The recorded golden `name`, one of `PICTURE_NAMES`."""
    folder = PICTURE_GOLDEN / name
    facts = cast("list[dict[str, Any]]", json.loads((folder / "golden.json").read_text())["prompts"])
    arrays = cast("dict[str, mx.array]", mx.load(str(folder / "golden.safetensors")))
    return PictureGolden(
        name=name,
        folder=folder,
        prompts=tuple(
            PicturePrompt(
                token_ids=tuple(fact["ids"]),
                pictures=tuple(
                    picture(arrays[f"pixels{index}_{number}"], start, length) for number, (start, length) in enumerate(fact["spans"])
                ),
                logits=arrays[f"logits{index}"],
                greedy=tuple(fact["greedy"]),
            )
            for index, fact in enumerate(facts)
        ),
    )


def picture(pixels: mx.array, start: int, length: int) -> PromptPicture:
    """A picture of a prompt, from pixels (height, width, 3)."""
    height, width, _ = pixels.shape
    content = bytes(memoryview(cast("Any", pixels)))
    digest = blake2b(content + f"{width}x{height}".encode(), digest_size=16).digest()
    return PromptPicture(start=start, length=length, digest=digest, pixels=content, height=height, width=width)


def spread_ids(parts: Sequence[Sequence[int]]) -> list[int]:
    """All parts joined."""
    return [token for part in parts for token in part]
