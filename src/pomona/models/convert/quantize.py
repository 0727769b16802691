"""A model folder with plain weights to one with packed weights, by mlx-lm's own rules for which layers are packed."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, cast

import mlx.core as mx
from mlx import nn

from pomona.core.errors import InvalidRequest
from pomona.core.hub import Quantization
from pomona.models.convert.writing import Shards, new_folder, write_json
from pomona.models.cpu.expansion import flat_parameters
from pomona.models.hub_cache import PATTERNS
from pomona.models.loading import build_module
from pomona.models.validation import FolderFacts, inspect_folder

Progress = Callable[[int, int, str], None]
"""(bytes done, bytes in all, what)."""


class Scheme(NamedTuple):
    """How weights are packed: so many bits each, and one scale (and for `affine` one offset) for each group of a row."""

    bits: int
    group_size: int
    mode: Literal["affine", "mxfp4", "nvfp4"]


SCHEMES: Mapping[Quantization, Scheme] = {
    "4bit": Scheme(4, 64, "affine"),
    "8bit": Scheme(8, 64, "affine"),
    "mxfp4": Scheme(4, 32, "mxfp4"),
    "nvfp4": Scheme(4, 16, "nvfp4"),
}
VISION_PARTS = (
    "visual.",
    "vision_tower.",
    "vision_model.",
    "multi_modal_projector.",
    "mm_projector.",
    "vision_encoder.",
    "vision_projection.",
)


def quantize(source: Path, target: Path, form: Quantization, progress: Progress) -> int:
    """Write `source` with its weights in `form` as the new folder `target`; the bytes of its weights.

    Vision parts stay as they are: they are small, and sensitive. Raises ModelUnusable, InvalidRequest where the weights are packed already,
    Conflict where `target` exists.
    """
    facts = inspect_folder(source)
    if facts.quantization:
        raise InvalidRequest(f"{source.name!r} is quantised already ({facts.quantization}). Give the model with its full weights.")
    module, config = build_module(facts)
    scheme = SCHEMES[form]
    entry = pack(module, scheme)
    tensors = {**dict(flat_parameters(module)), **dict(_vision_tensors(facts))}
    del module  # or the weights that are written would stay in memory
    with new_folder(target) as draft:
        _copy_side_files(source, draft)
        write_json(draft / "config.json", {**config, "quantization": entry, "quantization_config": entry})
        return _write_weights(tensors, draft, progress)


def pack(module: nn.Module, scheme: Scheme) -> dict[str, object]:
    """Replace the layers of `module` that can be packed, lazily; the `quantization` entry of its configuration.

    Layers whose rows are no multiple of the group, and those that the architecture wants left alone, stay; it may also ask for more bits.
    """
    entry: dict[str, object] = {"group_size": scheme.group_size, "bits": scheme.bits, "mode": scheme.mode}
    wishes: Callable[[str, nn.Module], bool | dict[str, object]] | None = getattr(module, "quant_predicate", None)

    def choose(path: str, layer: nn.Module) -> bool | dict[str, object]:
        if not hasattr(layer, "to_quantized") or cast("mx.array", layer["weight"]).shape[-1] % scheme.group_size:
            return False
        wish = wishes(path, layer) if wishes is not None else True
        if isinstance(wish, dict):
            entry[path] = wish
        return wish

    nn.quantize(module, scheme.group_size, scheme.bits, mode=scheme.mode, class_predicate=choose)
    return entry


def _write_weights(tensors: dict[str, mx.array], draft: Path, progress: Progress) -> int:
    total = sum(tensor.nbytes for tensor in tensors.values())
    shards, done = Shards(draft), 0
    for name in list(tensors):
        tensor = tensors.pop(name)
        done += tensor.nbytes
        shards.add({name: tensor})
        progress(done, total, name)
    return shards.close()


def _vision_tensors(facts: FolderFacts) -> Iterator[tuple[str, mx.array]]:
    """The tensors of the folder that the language model leaves out, because they make pictures readable."""
    for path in sorted(facts.path.glob("model*.safetensors")):
        loaded = mx.load(str(path))
        if isinstance(loaded, dict):
            yield from ((name, tensor) for name, tensor in loaded.items() if name.removeprefix("model.").startswith(VISION_PARTS))


def _copy_side_files(source: Path, target: Path) -> None:
    """Tokenizer, template, generation defaults, licence: all that is no weight."""
    for pattern in (*PATTERNS, "LICENSE*", "README.md", "1_Pooling/*"):
        for path in source.glob(pattern):
            if path.is_file() and path.suffix != ".safetensors" and path.name not in {"config.json", "model.safetensors.index.json"}:
                place = target / path.relative_to(source)
                place.parent.mkdir(exist_ok=True)
                shutil.copyfile(path, place)
