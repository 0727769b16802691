"""A model folder that appears whole or not at all."""

import json
import shutil
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import mlx.core as mx

from pomona.core.errors import Conflict

SHARD_BYTES = 2 * 2**30
"""Also the most weights in memory at a time, one tensor apart."""


@contextmanager
def new_folder(target: Path) -> Generator[Path]:
    """A folder to write into, which becomes `target` if all goes well and is removed otherwise. Raises Conflict where `target` exists."""
    if target.exists():
        raise Conflict(f"{str(target)!r} exists already. Remove it, or choose another name.")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield draft
        draft.chmod(0o755)  # mkdtemp's folders are for their owner alone
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


class Shards:
    """Safetensors files of at most `SHARD_BYTES` each, and the index that Hugging Face's tools read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, mx.array] = {}
        self._files: list[list[str]] = []
        self._bytes = 0
        self._total = 0

    def add(self, tensors: Mapping[str, mx.array]) -> None:
        """Take tensors that belong together. They may be lazy: they are computed when their file is written."""
        size = sum(tensor.nbytes for tensor in tensors.values())
        if self._open and self._bytes + size > SHARD_BYTES:
            self._write()
        self._open.update(tensors)
        self._bytes += size
        self._total += size

    def close(self) -> int:
        """Write what is left and name the files; the bytes of all tensors."""
        self._write()
        count = len(self._files)
        places: dict[str, str] = {}
        for number, names in enumerate(self._files, start=1):
            name = "model.safetensors" if count == 1 else f"model-{number:05d}-of-{count:05d}.safetensors"
            self._part(number).rename(self._folder / name)
            places |= dict.fromkeys(names, name)
        if count > 1:
            index = {"metadata": {"total_size": self._total}, "weight_map": dict(sorted(places.items()))}
            (self._folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
        return self._total

    def _write(self) -> None:
        if self._open:
            self._files.append(list(self._open))
            mx.save_safetensors(str(self._part(len(self._files))), self._open, metadata={"format": "mlx"})
            self._open = {}
            self._bytes = 0

    def _part(self, number: int) -> Path:
        return self._folder / f"part-{number}.safetensors"


def write_json(path: Path, document: Mapping[str, object]) -> None:
    """Write `document` as the files of model folders are written."""
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
