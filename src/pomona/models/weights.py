"""The weight files of a model folder, read as far as their headers: without MLX and without loading a tensor.

Format: https://huggingface.co/docs/safetensors, 8 bytes of header length, a JSON header, the tensors without gaps.
"""

import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, cast

from pomona.core.errors import ModelUnusable

LARGEST_HEADER = 100_000_000
DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F4": 4, "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64, "C64": 64,
}  # fmt: skip
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d+)-of-(?P<count>\d+)\.safetensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor as the header declares it. `dtype` is safetensors' own word, such as BF16."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return self.size * DTYPE_BITS[self.dtype] // 8


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Every tensor that mlx-lm would load from `folder`, by name.

    Raises ModelUnusable naming the file: none there, only pickles, absent, truncated or damaged shards, an index that does not fit.
    """
    shards = sorted(folder.glob("model*.safetensors"))
    if not shards:
        _explain_no_weights(folder)
    _check_shard_numbers(folder, [path.name for path in shards])
    tensors: dict[str, Tensor] = {}
    for path in shards:
        tensors |= read_header(path)
    _check_index(folder, tensors)
    return tensors


def read_header(path: Path) -> dict[str, Tensor]:
    """The tensors of one file, after checking that the file is as long as they need. Raises ModelUnusable."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if start == b"version ":
            _refuse(path, "is a Git LFS pointer, not the weights themselves. Run `git lfs pull` in the repository, or `hf download`.")
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else LARGEST_HEADER + 1
        if length > LARGEST_HEADER:
            _refuse(path, f"does not start like a safetensors file ({size:,} bytes). Download it again.")
        header = file.read(length)
    if len(header) < length:
        _refuse(path, f"ends inside its header: {size:,} bytes, the header alone needs {length + 8:,}. Download it again.")
    return _check_extent(path, _parse_header(path, header), size - 8 - length)


def _parse_header(path: Path, header: bytes) -> list[tuple[str, Tensor, int, int]]:
    """(name, tensor, begin, end) of each tensor in the order of the file."""
    try:
        entries = cast("dict[str, dict[str, object]]", json.loads(header))
        parsed = [_parse_tensor(name, entry) for name, entry in entries.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        _refuse(path, f"has a damaged header ({error}). Download it again.")
    return sorted(parsed, key=lambda item: item[2:])


def _parse_tensor(name: str, entry: Mapping[str, object]) -> tuple[str, Tensor, int, int]:
    begin, end = cast("list[int]", entry["data_offsets"])
    tensor = Tensor(dtype=str(entry["dtype"]), shape=tuple(int(n) for n in cast("list[int]", entry["shape"])))
    if tensor.dtype not in DTYPE_BITS:
        raise ValueError(f"tensor {name!r} is of the unknown type {tensor.dtype!r}")
    if end - begin != tensor.nbytes:
        raise ValueError(f"tensor {name!r} of shape {list(tensor.shape)} and type {tensor.dtype} cannot have {end - begin} bytes")
    return name, tensor, begin, end


def _check_extent(path: Path, entries: list[tuple[str, Tensor, int, int]], available: int) -> dict[str, Tensor]:
    position = 0
    for name, _, begin, end in entries:
        if begin != position:
            _refuse(path, f"has a damaged header: tensor {name!r} starts at byte {begin}, expected {position}. Download it again.")
        position = end
    if position > available:
        _refuse(path, f"is truncated: its tensors need {position:,} bytes, {available:,} are there. Download it again.")
    if position < available:
        _refuse(path, f"has {available - position:,} bytes after its last tensor, so it is damaged. Download it again.")
    return {name: tensor for name, tensor, _, _ in entries}


def _check_shard_numbers(folder: Path, names: list[str]) -> None:
    """Names like model-00002-of-00003.safetensors say how many there should be."""
    numbered = [match for name in names if (match := _SHARD.fullmatch(name))]
    for match in numbered:
        digits, there = len(match["number"]), {other["number"] for other in numbered if other["stem"] == match["stem"]}
        absent = [number for i in range(1, int(match["count"]) + 1) if (number := f"{i:0{digits}}") not in there]
        if absent:
            missing = ", ".join(f"{match['stem']}-{number}-of-{match['count']}.safetensors" for number in absent)
            raise ModelUnusable(f"The model folder {str(folder)!r} lacks {missing}. Download the missing files.")


def _check_index(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    path = folder / INDEX
    if not path.is_file():
        return
    try:
        weight_map = cast("dict[str, str]", json.loads(path.read_text(encoding="utf-8"))["weight_map"])
        files = sorted(set(weight_map.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        _refuse(path, f"is not a valid index ({type(error).__name__}: {error}). Download it again.")
    absent = [name for name in files if not (folder / name).is_file()]
    if absent:
        _refuse(path, f"names files that are not there: {', '.join(absent)}. Download the missing files.")
    missing = [f"{name} (in {weight_map[name]})" for name in weight_map if name not in tensors]
    if missing:
        _refuse(
            path, f"names tensors that its files do not hold: {', '.join(missing[:3])}{' ...' if missing[3:] else ''}. Download it again."
        )


def _explain_no_weights(folder: Path) -> NoReturn:
    where = f"The model folder {str(folder)!r} has no weights that can be loaded (model*.safetensors)"
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        raise ModelUnusable(
            f"{where}: only {', '.join(pickles[:3])}, which can run code when read, so Pomona does not read them. "
            "Take a revision of the model with safetensors, or convert it with `transformers` on a machine you can lose."
        )
    others = sorted(path.name for pattern in ("*.gguf", "*.safetensors") for path in folder.glob(pattern))
    if others:
        raise ModelUnusable(
            f"{where}: {', '.join(others[:3])} is there, which is another layout. Take the model in the layout of Hugging Face."
        )
    raise ModelUnusable(f"{where}. Download the model again.")


def _refuse(path: Path, reason: str) -> NoReturn:
    raise ModelUnusable(f"The file {str(path)!r} {reason}")
