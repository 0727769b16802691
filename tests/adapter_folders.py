"""Small adapters in both layouts, with random weights that change what a model says, and the models they are fused into."""

import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn

from pomona.engine.adapters.sites import describe_layer, find_layers, unpacked_weight

ATTENTION = ("self_attn.q_proj", "self_attn.v_proj")
ALL_LINEAR = (*ATTENTION, "self_attn.k_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
EXPERTS = ("self_attn.q_proj", "mlp.switch_mlp.gate_proj", "mlp.switch_mlp.up_proj", "mlp.switch_mlp.down_proj")
SCALE = 2.0


def write_mlx_lm(
    folder: Path, model: nn.Module, *, keys: Sequence[str] = ATTENTION, rank: int = 4, seed: int = 0, dora: bool = False, layers: int = 64
) -> Path:
    """An adapter as mlx-lm saves it, on the layers of `model` whose names end with one of `keys`."""
    folder.mkdir(parents=True, exist_ok=True)
    key, tensors = mx.random.key(seed), dict[str, mx.array]()
    for name, layer in _chosen(model, keys):
        site = describe_layer(layer)
        key, one, other, third = mx.random.split(key, 4)
        lead = (site.experts,) if site.experts else ()
        shapes = ((*lead, rank, site.inputs), (*lead, site.outputs, rank)) if lead else ((site.inputs, rank), (rank, site.outputs))
        tensors[f"{name}.lora_a"] = mx.random.normal(shapes[0], key=one) * _spread(site.inputs, site.kind)
        tensors[f"{name}.lora_b"] = mx.random.normal(shapes[1], key=other) * (0.6 / rank**0.5)
        if dora:
            norms = mx.linalg.norm(unpacked_weight(layer).astype(mx.float32), axis=1)
            tensors[f"{name}.m"] = norms * mx.random.uniform(0.7, 1.4, norms.shape, key=third)
    mx.save_safetensors(str(folder / "adapters.safetensors"), tensors)
    parameters = {"rank": rank, "scale": SCALE, "dropout": 0.0, "keys": list(keys)}
    kind = "dora" if dora else "lora"
    _write_config(folder, {"fine_tune_type": kind, "num_layers": layers, "lora_parameters": parameters, "model": "somebody/tiny"})
    return folder


def write_peft(folder: Path, model: nn.Module, *, keys: Sequence[str] = ATTENTION, rank: int = 4, seed: int = 0, **config: object) -> Path:
    """The same adapter as `write_mlx_lm` writes, as PEFT saves it; experts one by one. `config` adds to its configuration."""
    tensors = dict[str, mx.array]()
    write_mlx_lm(folder, model, keys=keys, rank=rank, seed=seed)
    for name, value in cast("dict[str, mx.array]", mx.load(str(folder / "adapters.safetensors"))).items():
        module, _, leaf = name.rpartition(".")
        letter = leaf[-1].upper()
        if value.ndim == 3:
            block, _, layer = module.partition(".switch_mlp.")
            tensors |= {f"base_model.model.{block}.experts.{e}.{layer}.lora_{letter}.weight": value[e] for e in range(value.shape[0])}
        else:
            tensors[f"base_model.model.{module}.lora_{letter}.weight"] = mx.contiguous(value.T)
    (folder / "adapters.safetensors").unlink()
    mx.save_safetensors(str(folder / "adapter_model.safetensors"), tensors)
    targets = sorted({key.rpartition(".")[2] for key in keys})
    settings: dict[str, object] = {"peft_type": "LORA", "r": rank, "lora_alpha": SCALE * rank, "target_modules": targets, "bias": "none"}
    _write_config(folder, {**settings, "base_model_name_or_path": "somebody/tiny", **config})
    return folder


def fuse(model: nn.Module, folder: Path) -> nn.Module:
    """`model` with mlx-lm's adapter in `folder` fused into its weights, as `mlx_lm.fuse --de-quantize` does."""
    tuner: Any = importlib.import_module("mlx_lm.tuner.utils")
    trees: Any = importlib.import_module("mlx.utils")
    tuner.load_adapters(model, str(folder))
    modules = cast("list[tuple[str, Any]]", model.named_modules())
    fused = [(name, module.fuse(dequantize=True)) for name, module in modules if hasattr(module, "fuse")]
    model.update_modules(trees.tree_unflatten(fused))
    model.eval()
    return model


def change_weights(folder: Path, change: Mapping[str, mx.array]) -> None:
    """Replace tensors of an adapter that `write_mlx_lm` wrote."""
    path = folder / "adapters.safetensors"
    tensors = cast("dict[str, mx.array]", mx.load(str(path)))
    mx.eval(list(tensors.values()))
    mx.save_safetensors(str(path), {**tensors, **change})


def _chosen(model: nn.Module, keys: Sequence[str]) -> list[tuple[str, nn.Module]]:
    return [(name, layer) for name, layer in find_layers(model).items() if name.endswith(tuple(keys))]


def _spread(inputs: int, kind: str) -> float:
    """An embedding is looked up, not summed over."""
    return 0.3 if kind == "embedding" else 1.0 / inputs**0.5


def _write_config(folder: Path, config: Mapping[str, object]) -> None:
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2))
