"""A GGUF file to a model folder."""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pomona.core.errors import InvalidRequest
from pomona.core.hub import Quantization
from pomona.models.convert.gguf.blocks import GROUP
from pomona.models.convert.gguf.config import Config, read_config
from pomona.models.convert.gguf.file import GgufFile
from pomona.models.convert.gguf.tensors import PLAIN, convert_tensor, model_dtype
from pomona.models.convert.gguf.tokenizer import write_tokenizer
from pomona.models.convert.quantize import Progress, quantize
from pomona.models.convert.writing import Shards, new_folder, write_json
from pomona.models.validation import inspect_folder


def convert_gguf(source: Path, target: Path, form: Quantization | None, progress: Progress) -> int:
    """Write the model of the GGUF file `source` as the new folder `target`; the bytes of its weights.

    Packed weights stay packed; `form` packs a file of plain ones. Raises ModelUnusable, InvalidRequest where the file is packed and `form`
    is given, Conflict where `target` exists.
    """
    file = GgufFile(source)
    config = read_config(file)
    packed = any(tensor.kind not in PLAIN for tensor in file.tensors())
    if form and packed:
        raise InvalidRequest(f"The weights in {source.name!r} are quantised already. Leave out --quantize, or take a file in F16 or BF16.")
    if form is None:
        return _write(file, config, target, progress)
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:  # beside it: the system's own may be small
        plain = Path(folder) / source.stem
        _write(file, config, plain, progress)
        return quantize(plain, target, form, progress)


def _write(file: GgufFile, config: Config, target: Path, progress: Progress) -> int:
    with new_folder(target) as draft:
        write_tokenizer(file, draft)
        shards, packing, done = Shards(draft), dict[str, dict[str, Any]](), 0
        dtype, total = model_dtype(file), file.nbytes
        for tensor in file.tensors():
            arrays = convert_tensor(tensor, file, config, dtype)
            packing |= _packing(arrays)
            shards.add(arrays)
            done += tensor.data.nbytes
            progress(done, total, tensor.name)
        written = shards.close()
        write_json(draft / "config.json", config | _quantization(packing))
        inspect_folder(draft)
    return written


def _packing(arrays: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """How the layer of `arrays` is packed, if it is."""
    found: dict[str, dict[str, Any]] = {}
    for name, scales in arrays.items():
        if name.endswith(".scales"):
            stem = name.removesuffix(".scales")
            bits = arrays[f"{stem}.weight"].shape[-1] * 32 // (scales.shape[-1] * GROUP)
            found[stem] = {"group_size": GROUP, "bits": bits, "mode": "affine"}
    return found


def _quantization(packing: dict[str, dict[str, Any]]) -> Config:
    """The entry of config.json: most layers' way of packing, and every layer that differs."""
    if not packing:
        return {}
    counts = Counter(layer["bits"] for layer in packing.values())
    usual = {"group_size": GROUP, "bits": counts.most_common(1)[0][0], "mode": "affine"}
    entry = usual | {stem: layer for stem, layer in packing.items() if layer != usual}
    return {"quantization": entry, "quantization_config": entry}
