"""The language parts of vision models: which of mlx-lm's definitions, with which settings, from which tensors.

mlx-lm's own loading of these models knows one layout of the config and of the names each; published folders have several.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn

from pomona.models.vision.names import tower_name

Json = Mapping[str, Any]
Classes = tuple[type[nn.Module], type]
Weights = dict[str, mx.array]
_classes = cast("Callable[..., Classes]", vars(importlib.import_module("mlx_lm.utils"))["_get_classes"])
_LLAMA = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "rms_norm_eps": 1e-6, "vocab_size": 32000}
TEXT_DEFAULTS: Mapping[str, Json] = {
    "llama": {**_LLAMA, "intermediate_size": 11008},
    "mistral": {**_LLAMA, "intermediate_size": 14336, "num_key_value_heads": 8},
    "qwen2": {
        "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
        "rms_norm_eps": 1e-6, "vocab_size": 151936, "rope_theta": 10000.0,
    },
}  # fmt: skip
"""What transformers assumes where a `text_config` is silent, as those of LLaVA are."""


def language_settings(config: Json, tensors: Iterable[str]) -> dict[str, Any]:
    """Entries of config.json as mlx-lm's definitions read them, for a folder with these `tensors`."""
    tied = {"tie_word_embeddings": _is_tied(config, tensors)}
    text = config.get("text_config")
    if not isinstance(text, dict):
        return {**_rope_settings(config), **tied}
    text = cast("dict[str, Any]", text)
    kind = str(text.get("model_type", "llama"))
    return {"text_config": {**TEXT_DEFAULTS.get(kind, {}), **_pattern(text), **text, **_rope_settings(text), **tied}}


def language_classes(config: Json) -> Classes:
    """mlx-lm's definition for the model, made to read every layout of tensor names."""
    text = cast("Json", config.get("text_config") or {})
    kind = str(text.get("model_type", "llama"))
    if config["model_type"] == "llava" and kind not in {"llama", "mistral", "ministral3", "mistral4"}:
        definition: Any = importlib.import_module(f"mlx_lm.models.{kind}")
        plain, arguments = _wrapper(definition), _TextArgs
    else:
        plain, arguments = _classes(config=dict(config))

    def sanitize(self: Any, weights: Weights) -> Weights:
        return plain.sanitize(self, dict(_renamed(weights, config)))  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]

    return type(plain.__name__, (plain,), {"sanitize": sanitize}), arguments


def decoder_layers(module: nn.Module) -> list[nn.Module]:
    """The layers of the language part."""
    return cast("list[nn.Module]", cast("Any", module).layers)


def embedding_of(module: nn.Module) -> Callable[[mx.array], mx.array]:
    """(rows, tokens) ids -> (rows, tokens, width)."""
    return lambda ids: cast("mx.array", cast("Any", module).language_model.model.embed_tokens(ids))


class _TextArgs:
    """Settings of a model whose language part mlx-lm does not expect in it."""

    def __init__(self, config: Json) -> None:
        self.text: Json = config["text_config"]

    @classmethod
    def from_dict(cls, config: Json) -> "_TextArgs":
        return cls(config)


def _wrapper(definition: Any) -> type[nn.Module]:
    class LanguagePart(nn.Module):
        def __init__(self, args: _TextArgs) -> None:
            super().__init__()
            self.language_model = definition.Model(definition.ModelArgs.from_dict(args.text))

        def __call__(self, inputs: mx.array, cache: Any = None, input_embeddings: mx.array | None = None) -> mx.array:
            return self.language_model(inputs, cache=cache, input_embeddings=input_embeddings)

        def sanitize(self, weights: Weights) -> Weights:
            inner = {name.removeprefix("language_model."): array for name, array in weights.items()}
            return {f"language_model.{name}": array for name, array in self.language_model.sanitize(inner).items()}

        @property
        def layers(self) -> list[nn.Module]:
            return self.language_model.layers

    return LanguagePart


def _renamed(weights: Weights, config: Json) -> Weights:
    """Without those of the vision part, by mlx-lm's names: `language_model.model.` and `language_model.lm_head.`."""
    settings = cast("Json", config.get("text_config") or config)
    tied, turned = _is_tied(config, weights), _outputs_first(weights, settings)
    found: Weights = {}
    for name, array in weights.items():
        if tower_name(name, config) is not None:
            continue
        if name.startswith("model.language_model."):
            ours = "language_model.model." + name.removeprefix("model.language_model.")
        else:
            ours = name if name.startswith("language_model.") else f"language_model.{name}"
        if not (tied and ours.startswith("language_model.lm_head.")):
            found[ours] = array.swapaxes(1, 2) if turned and ".experts." in ours and array.ndim == 3 else array
    return found


def _is_tied(config: Json, tensors: Iterable[str]) -> bool:
    """The embeddings are the head too: the files hold no head, or the config says that the one in them is not to be used."""
    if not any(name.endswith("lm_head.weight") for name in tensors):
        return True
    declared = config.get("tie_word_embeddings", cast("Json", config.get("text_config") or {}).get("tie_word_embeddings"))
    return bool(declared)


def _outputs_first(weights: Weights, settings: Json) -> bool:
    """Whether stacked experts lie as transformers 5 saves them, outputs before inputs; mlx-lm takes them the other way round."""
    shapes = [array.shape for name, array in weights.items() if name.endswith(".experts.down_proj")]
    return bool(shapes) and shapes[0][1] == settings.get("hidden_size") != shapes[0][2]


def _rope_settings(text: Json) -> dict[str, Any]:
    """transformers 5 keeps all of RoPE in `rope_parameters`, where a model has windows one for each kind of layer."""
    rope = text.get("rope_parameters")
    if not isinstance(rope, dict):
        return {}
    rope = cast("Json", rope)
    whole = cast("Json", rope.get("full_attention", rope))
    settings: dict[str, Any] = {}
    if "rope_theta" in whole:
        settings["rope_theta"] = whole["rope_theta"]
    if whole.get("rope_type", "default") != "default":
        settings["rope_scaling"] = dict(whole)
    if "sliding_attention" in rope:
        settings["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
    return {key: value for key, value in settings.items() if text.get(key) is None}


def _pattern(text: Json) -> dict[str, Any]:
    kinds = cast("list[str] | None", text.get("layer_types"))
    if not kinds or "sliding_attention" not in kinds or "full_attention" not in kinds:
        return {}
    return {"sliding_window_pattern": kinds.index("full_attention") + 1}
