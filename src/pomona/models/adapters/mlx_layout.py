"""Adapters as mlx-lm writes them: adapters.safetensors, with `lora_a`, `lora_b` and, of DoRA, `m` for each layer."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from pomona.models.adapters.configuration import Json, integer, mapping, number, text
from pomona.models.adapters.facts import Part, refuse
from pomona.models.weights import Tensor

TYPES = ("lora", "dora")


def check(path: Path, configuration: Json) -> None:
    """Raises AdapterUnusable for kinds of fine-tuning that are no adapters."""
    kind = configuration.get("fine_tune_type", "lora")
    if kind == "full":
        refuse(path, "is of a full fine-tune, whose weights replace the model's. Fuse it (`mlx_lm.fuse`) and serve the result as a model.")
    if kind not in TYPES:
        refuse(path, f"has the fine_tune_type {kind!r}; allowed are {', '.join(TYPES)}.")


def base(configuration: Json) -> str | None:
    """The model that it was trained on."""
    return text(configuration, "model")


def parts(path: Path, weights: Path, configuration: Json, tensors: Mapping[str, Tensor]) -> Iterator[Part]:
    """One part per layer. `path` is that of the configuration. Raises AdapterUnusable."""
    parameters = mapping(configuration, "lora_parameters")
    if "scale" not in parameters:
        refuse(path, "must say by how much its products are scaled (lora_parameters.scale).")
    scale, rank = number(path, parameters, "scale"), integer(path, parameters, "rank")
    _check_names(weights, tensors)
    for name, tensor in tensors.items():
        if name.endswith(".lora_a"):
            module = name.removesuffix(".lora_a")
            magnitude = f"{module}.m" if f"{module}.m" in tensors else None
            part = _part(module, tensor.shape, tensors[f"{module}.lora_b"].shape, scale, magnitude)
            if part is None or part.rank != rank:
                up = list(tensors[f"{module}.lora_b"].shape)
                refuse(weights, f"has {name!r} of shape {list(tensor.shape)} beside {up}, which is no pair of rank {rank}.")
            yield part


def _part(module: str, down: tuple[int, ...], up: tuple[int, ...], scale: float, magnitude: str | None) -> Part | None:
    if len(down) == len(up) == 2 and down[1] == up[0]:
        inputs, rank, outputs, experts = down[0], down[1], up[1], 0
    elif len(down) == len(up) == 3 and down[0] == up[0] and down[1] == up[2]:
        inputs, rank, outputs, experts = down[2], down[1], up[1], down[0]
    else:
        return None
    return Part(
        module=module,
        kind="experts" if experts else None,
        down=f"{module}.lora_a",
        up=f"{module}.lora_b",
        inputs=inputs,
        outputs=outputs,
        rank=rank,
        scale=scale,
        turned=bool(experts),
        magnitude=magnitude,
        experts=experts,
    )


def _check_names(weights: Path, tensors: Mapping[str, Tensor]) -> None:
    for name in tensors:
        module, _, leaf = name.rpartition(".")
        if leaf not in {"lora_a", "lora_b", "m"}:
            refuse(weights, f"has the tensor {name!r}, which is no part of a LoRA adapter: only lora_a, lora_b and m are.")
        absent = [f"{module}.{other}" for other in ("lora_a", "lora_b") if f"{module}.{other}" not in tensors]
        if absent:
            refuse(weights, f"has {name!r} and lacks {absent[0]!r}. Save the adapter again.")
