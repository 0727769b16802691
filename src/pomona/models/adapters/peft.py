"""Adapters as PEFT writes them: adapter_model.safetensors, with `lora_A`, `lora_B` and `lora_magnitude_vector` for each layer."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pomona.models.adapters.configuration import Json, integer, mapping, number, text
from pomona.models.adapters.facts import Part, refuse
from pomona.models.weights import Tensor

_NAME = re.compile(
    r"(?:base_model\.model\.)?(?P<module>.+?)\.(?P<role>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector|base_layer)"
    r"(?:\.default)?(?:\.weight)?"
)
_EXPERT = re.compile(r"(?P<block>.+)\.experts\.(?P<expert>\d+)\.(?P<layer>\w+)")
_MIXTRAL = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
REFUSED: Mapping[str, str] = {
    "target_parameters": "adapts parameters that are no layers (target_parameters)",
    "layer_replication": "repeats layers of the model (layer_replication)",
    "lora_bias": "has biases of its own (lora_bias)",
    "alora_invocation_tokens": "is only active behind certain tokens (alora_invocation_tokens)",
    "use_qalora": "is a QALoRA adapter (use_qalora)",
    "use_bdlora": "is block-diagonal (use_bdlora)",
    "trainable_token_indices": "replaces the embeddings of single tokens (trainable_token_indices)",
    "arrow_config": "mixes other adapters (arrow_config)",
    "kasa_config": "changes the singular values of the model's weights (kasa_config)",
    "monteclora_config": "draws its matrices at random (monteclora_config)",
}
"""Options of PEFT's LoraConfig that change what the matrices mean."""
CHANGED_BASES = ("pissa", "olora", "corda", "lora_ga")
"""Ways to begin training that change the model's own weights: such an adapter does not go with the model as it was published."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """Rank and scale by layer, from the configuration."""

    path: Path
    configuration: Json

    def of(self, module: str) -> tuple[int, float]:
        """(rank, scale) of the layer `module`: alpha / rank, or alpha / sqrt(rank) for rsLoRA. Raises AdapterUnusable."""
        rank = self._value("rank_pattern", "r", module)
        alpha = self._value("alpha_pattern", "lora_alpha", module)
        if rank != int(rank) or rank < 1:
            refuse(self.path, f"must give the rank of {module!r} as a whole number above 0; it says {rank!r}.")
        return int(rank), alpha / (math.sqrt(rank) if self.configuration.get("use_rslora") else rank)

    def _value(self, pattern: str, default: str, module: str) -> float:
        """As PEFT's `get_pattern_key` chooses: the first pattern that the end of the name matches."""
        patterns = mapping(self.configuration, pattern)
        try:
            key = next((key for key in patterns if re.match(rf"(.*\.)?({key})$", module)), None)
        except re.error as error:
            refuse(self.path, f"has a {pattern} that is no regular expression: {error}.")
        return number(self.path, self.configuration, default, 8) if key is None else number(self.path, patterns, key)


def check(path: Path, configuration: Json) -> None:
    """Raises AdapterUnusable for what cannot be added to a model as products of two matrices."""
    kind = configuration.get("peft_type", "LORA")
    if kind != "LORA":
        refuse(path, f"is of a PEFT method that cannot be served: {kind!r}. Allowed is LORA (LoRA, rsLoRA, DoRA).")
    saved = configuration.get("modules_to_save")
    if saved:
        refuse(path, f"brings whole layers of its own (modules_to_save={saved!r}). Merge it into its model, and serve that.")
    if configuration.get("bias", "none") != "none":
        refuse(path, f"changes biases of the model (bias={configuration['bias']!r}). Merge it into its model, and serve that.")
    begin = configuration.get("init_lora_weights")
    if isinstance(begin, str) and begin.lower().startswith(CHANGED_BASES):
        refuse(path, f"was begun with init_lora_weights={begin!r}, which changes the model itself. Convert it to plain LoRA with PEFT.")
    for key, what in REFUSED.items():
        if configuration.get(key):
            refuse(path, f"{what}, which cannot be served. Merge it into its model, and serve that.")
    integer(path, configuration, "r", 8)


def base(configuration: Json) -> str | None:
    """The model that it was trained on."""
    return text(configuration, "base_model_name_or_path")


def parts(path: Path, weights: Path, configuration: Json, tensors: Mapping[str, Tensor]) -> Iterator[Part]:
    """One part per layer and expert. `path` is that of the configuration. Raises AdapterUnusable."""
    scaling = Scaling(path, configuration)
    for module, roles in _by_module(weights, tensors).items():
        embedding = "lora_embedding_A" in roles
        if embedding and configuration.get("ensure_weight_tying"):
            refuse(path, "ties its embedding to the output layer (ensure_weight_tying). Merge it into its model, and serve that.")
        down, up = ("lora_embedding_A", "lora_embedding_B") if embedding else ("lora_A", "lora_B")
        absent = [role for role in (down, up) if role not in roles]
        if absent:
            refuse(weights, f"lacks {absent[0]} of {module!r}. Save the adapter again.")
        rank, scale = scaling.of(module)
        part = _part(module, roles, (down, up), tensors, scale)
        if part is None or part.rank != rank:
            shapes = [list(tensors[roles[role]].shape) for role in (down, up)]
            refuse(weights, f"has {roles[down]!r} of shape {shapes[0]} beside {shapes[1]}, which is no pair of rank {rank}.")
        yield part


def _by_module(weights: Path, tensors: Mapping[str, Tensor]) -> dict[str, dict[str, str]]:
    """Layer -> role -> name of the tensor."""
    found: dict[str, dict[str, str]] = {}
    for name in tensors:
        match = _NAME.fullmatch(name)
        if match is None or ".base_layer" in match["module"]:
            refuse(
                weights,
                f"has the tensor {name!r}, which is no part of a LoRA on a layer. Merge the adapter into its model, and serve that.",
            )
        found.setdefault(match["module"], {})[match["role"]] = name
    return found


def _part(module: str, roles: Mapping[str, str], pair: tuple[str, str], tensors: Mapping[str, Tensor], scale: float) -> Part | None:
    down, up = (tensors[roles[role]].shape for role in pair)
    if len(down) != 2 or len(up) != 2 or down[0] != up[1]:
        return None
    embedding = pair[0] == "lora_embedding_A"
    expert = _EXPERT.fullmatch(module)
    layer = "" if expert is None else _MIXTRAL.get(expert["layer"], expert["layer"])
    return Part(
        module=module if expert is None else f"{expert['block']}.switch_mlp.{layer}",
        kind="experts" if expert else "embedding" if embedding else "linear",
        down=roles[pair[0]],
        up=roles[pair[1]],
        inputs=down[1],
        outputs=up[0],
        rank=down[0],
        scale=scale,
        turned=True,
        magnitude=roles.get("lora_magnitude_vector"),
        expert=None if expert is None else int(expert["expert"]),
        untied=embedding,
        copy=roles.get("base_layer"),
    )
