"""From a model folder to a module in memory, through mlx-lm's definitions of every architecture.

Folders are checked before MLX sees them (`validation.py`); what only building the module can find is reported the same way.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

import mlx.core as mx
import mlx.nn as nn

from pomona.core.errors import ModelUnusable
from pomona.core.settings import ModelsSettings
from pomona.models.cpu.between import quicken
from pomona.models.cpu.expansion import expand_to_float32, flat_parameters
from pomona.models.cpu.rotary import share_rotary_tables
from pomona.models.device import Device, free_device_bytes
from pomona.models.products.choosing import choose_products
from pomona.models.references import ResolvedModel
from pomona.models.validation import FolderFacts, inspect_folder
from pomona.models.vision.language import language_classes, language_settings
from pomona.models.vision.loading import VisionPart, load_vision
from pomona.models.vision.names import is_vision_config

# mlx-lm and mlx.utils have no complete types.
_load_model = cast("Callable[..., tuple[nn.Module, Mapping[str, object]]]", importlib.import_module("mlx_lm.utils").load_model)
FALLBACK_CONTEXT = 8192
DEFAULTS = ModelsSettings()
BUILD_ERRORS = (
    ValueError,
    ArithmeticError,
    TypeError,
    KeyError,
    AttributeError,
    IndexError,
    AssertionError,
    RuntimeError,
    OSError,
    ImportError,
)
"""What mlx-lm's model definitions raise for a config or tensors that do not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model in memory, ready to be called as `module(ids, cache)` (mlx-lm's convention).

    `weight_bytes` counts the weights as they are in memory, packed copies included; `dtype` is that of most of them that are not packed.
    `max_context` and `vocabulary` are in tokens.
    """

    module: nn.Module
    config: Mapping[str, object]
    path: Path
    id: str
    model_type: str
    architecture: str
    max_context: int
    vocabulary: int
    eos_token_ids: tuple[int, ...]
    weight_bytes: int
    dtype: str
    warnings: tuple[str, ...] = ()
    vision: VisionPart | None = None


def load(resolved: ResolvedModel, device: Device, settings: ModelsSettings = DEFAULTS) -> LoadedModel:
    """Load the model into the memory of `device`, which `use_device` made the default one.

    On CPUs the weights become float32, unless `models.dequantize_on_cpu` is off, with the packed copies of
    `models.pack_on_cpu`; on GPUs `models.quantized_on_gpu` says what becomes of
    quantised ones. Raises ModelUnusable.
    """
    facts = inspect_folder(resolved.path)
    module, config = build_module(facts)
    vision = _build_vision(facts, module)
    parts = [module, *([vision.module] if vision else [])]
    packed_bytes = 0
    if device.kind == "cpu" and settings.dequantize_on_cpu:
        packed_bytes = sum(expand_to_float32(part, settings.pack_on_cpu) for part in parts)
        share_rotary_tables(module)
    for part in parts:
        _materialise(part, facts)
    if device.kind == "cpu":
        quicken(module)
    if device.kind == "cuda" or (device.kind == "metal" and settings.quantized_on_gpu == "expanded"):
        choose_products(module, settings.quantized_on_gpu, int(settings.expanded_share * free_device_bytes()))
    sizes = _bytes_by_type(parts)
    return LoadedModel(
        module=module,
        config=config,
        path=resolved.path,
        id=resolved.id,
        model_type=facts.model_type,
        architecture=facts.architecture,
        max_context=facts.max_context or FALLBACK_CONTEXT,
        vocabulary=_vocabulary(module, facts),
        eos_token_ids=facts.eos_token_ids,
        weight_bytes=sum(sizes.values()) + packed_bytes,
        dtype=max((name for name in sizes if "float" in name), key=lambda name: sizes[name], default="unknown"),
        warnings=tuple(_warnings(facts)),
        vision=vision,
    )


def build_module(facts: FolderFacts) -> tuple[nn.Module, Mapping[str, object]]:
    """The module with its weights still on disk: MLX reads each one when it is first needed. Raises ModelUnusable."""
    special: dict[str, object] = {}
    if is_vision_config(facts.config):
        special = {"model_config": language_settings(facts.config, facts.tensors), "get_model_classes": language_classes}
    try:
        return _load_model(facts.path, lazy=True, strict=True, trust_remote_code=False, **special)
    except BUILD_ERRORS as error:
        _explain(facts, error)


def _build_vision(facts: FolderFacts, module: nn.Module) -> VisionPart | None:
    try:
        return load_vision(facts.path, facts.config, module) if facts.vision else None
    except BUILD_ERRORS as error:
        _explain(facts, error)


def _materialise(module: nn.Module, facts: FolderFacts) -> None:
    try:
        mx.eval(module.parameters())
    except RuntimeError as error:
        _explain(facts, error)


def _explain(facts: FolderFacts, error: BaseException) -> NoReturn:
    """Say which file is at fault: tensors that do not fit the config name the tensors, everything else names the config."""
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, KeyError):
        reason = f"the entry {reason} is missing"
    if isinstance(error, MemoryError) or "allocate" in reason:
        raise ModelUnusable(
            f"There is not enough memory for {str(facts.path)!r} ({facts.weight_bytes:,} bytes of weights): {reason}"
        ) from error
    at_fault = "The weights in" if _is_about_weights(reason) else "The file"
    place = facts.path if _is_about_weights(reason) else facts.path / "config.json"
    raise ModelUnusable(
        f"{at_fault} {str(place)!r} do not make a model of type {facts.model_type!r}: {reason[:600]}. "
        "Config and weights must come from the same model; download it again."
    ) from error


def _is_about_weights(reason: str) -> bool:
    return any(words in reason for words in ("Missing", "not in model", "Expected shape", "[load_safetensors]"))


def _warnings(facts: FolderFacts) -> list[str]:
    found: list[str] = []
    if facts.max_context is None:
        found.append(f"{facts.path.name} does not say how long its context is; {FALLBACK_CONTEXT} tokens are assumed.")
    if not facts.eos_token_ids:
        found.append(f"{facts.path.name} names no end-of-sequence token: answers end only at their token limit or a stop string.")
    if is_vision_config(facts.config) and not facts.vision:
        found.append(f"{facts.path.name} was made to see, but holds no weights of a vision part: it takes text alone.")
    return found


def _bytes_by_type(parts: Iterable[nn.Module]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for _, array in (entry for part in parts for entry in flat_parameters(part)):
        name = str(array.dtype).removeprefix("mlx.core.")
        sizes[name] = sizes.get(name, 0) + array.nbytes
    return sizes


def _vocabulary(module: nn.Module, facts: FolderFacts) -> int:
    """From the config, else the rows of the first embedding."""
    if facts.vocabulary:
        return facts.vocabulary
    for _, child in cast("list[tuple[str, Any]]", module.named_modules()):
        if isinstance(child, nn.Embedding | nn.QuantizedEmbedding):
            return int(cast("Any", child).weight.shape[0])
    raise ModelUnusable(f"The file {str(facts.path / 'config.json')!r} must say how many tokens the model knows (vocab_size).")
