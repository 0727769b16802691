"""What a repository is, from what the hub says of it and from its config.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from huggingface_hub.hf_api import ModelInfo

from pomona.core.errors import PomonaError
from pomona.core.hub import HubModel
from pomona.models.hub_cache import needed_files
from pomona.models.validation import check_architecture
from pomona.models.weights import DTYPE_BITS

Config = Mapping[str, object]
_STORED_BITS = 16.0
"""Of a weight, where nothing is known: nearly all models are published in BF16 or F16."""


def hub_model(info: ModelInfo, config: Config | None = None) -> HubModel:
    """The facts of `info`; `config` is its config.json, where that was read: the hub shows only parts of it."""
    known: Config = config or cast("Config", info.config or {})
    names = [sibling.rfilename for sibling in info.siblings or ()]
    tags = tuple(info.tags or ())
    model_type = known.get("model_type")
    return HubModel(
        id=info.id,
        downloads=info.downloads or 0,
        likes=info.likes or 0,
        updated_at=info.last_modified.isoformat() if info.last_modified else None,
        tags=tags,
        gated=bool(info.gated),
        private=bool(info.private),
        model_type=model_type if isinstance(model_type, str) else None,
        parameters=_parameters(info, known),
        weight_bytes=_weight_bytes(info, names),
        quantization=describe_quantization(known),
        mlx="mlx" in tags or info.library_name == "mlx",
        gguf_files=tuple(sorted(name for name in names if name.lower().endswith(".gguf"))),
        loadable=_loadable(known),
    )


def stored_bits(config: Config) -> float | None:
    """Bits of a weight as stored, scales included, where the model is quantised; else None."""
    facts = _quantization(config)
    bits = facts.get("bits")
    if not isinstance(bits, int):
        return _METHOD_BITS.get(str(facts.get("quant_method"))) if facts else None
    group = facts.get("group_size")
    return bits + (32.0 / group if isinstance(group, int) and group > 0 else 0.5)


def describe_quantization(config: Config) -> str | None:
    """Such as `4-bit affine`; None for plain weights."""
    facts = _quantization(config)
    if not facts:
        return None
    method = str(facts.get("mode") or facts.get("quant_method") or "affine")
    return f"{facts['bits']}-bit {method}" if "bits" in facts else method


_METHOD_BITS: Mapping[str, float] = {"fp8": 8.0, "mxfp4": 4.25, "gptq": 4.5, "awq": 4.5, "compressed-tensors": 8.0}


def _quantization(config: Config) -> Config:
    for source in (config, config.get("text_config")):
        for key in ("quantization", "quantization_config"):
            found = cast("Config", source).get(key) if isinstance(source, Mapping) else None
            if isinstance(found, Mapping):
                return cast("Config", found)
    return {}


def _parameters(info: ModelInfo, config: Config) -> int | None:
    """As before they were quantised: the hub counts packed weights as the 32-bit numbers that they lie in."""
    gguf = cast("dict[str, Any]", info.gguf or {}).get("total")
    if info.safetensors is None:
        return gguf if isinstance(gguf, int) else None
    bits = _quantization(config).get("bits")
    packed = info.safetensors.parameters.get("U32", 0)
    if packed and isinstance(bits, int) and bits > 0:
        return packed * 32 // bits
    return info.safetensors.total


def _weight_bytes(info: ModelInfo, names: list[str]) -> int | None:
    """Of the files to download where their sizes are known, else as the hub counts tensors."""
    needed = {name for name in needed_files(names) if name.endswith(".safetensors")}
    sizes = [sibling.size for sibling in info.siblings or () if sibling.rfilename in needed]
    if sizes and all(size is not None for size in sizes):
        return sum(size or 0 for size in sizes)
    if info.safetensors is None:
        return None
    return sum(count * DTYPE_BITS.get(dtype, int(_STORED_BITS)) // 8 for dtype, count in info.safetensors.parameters.items())


def _loadable(config: Config) -> bool | None:
    if not isinstance(config.get("model_type"), str):
        return None
    try:
        check_architecture(Path(), config)
    except PomonaError:
        return False
    return True
