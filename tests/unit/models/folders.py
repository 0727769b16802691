"""Model folders for tests: whole ones, and ways to break them."""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
STORIES = ROOT / "tests" / "data" / "stories260K"
WEIGHTS = "model.safetensors"


def copy_stories(folder: Path) -> Path:
    """A private copy of the stories model."""
    return Path(shutil.copytree(STORIES, folder))


def change_json(path: Path, **changes: Any) -> None:
    """Set entries of a JSON file; None removes one."""
    value = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: item for key, item in value.items() if item is not None}))


def split_weights(path: Path) -> tuple[dict[str, Any], bytes]:
    """Header and tensor bytes of a safetensors file."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write_weights(path: Path, header: dict[str, Any], tensors: bytes) -> None:
    """A safetensors file from its two parts, whether they fit or not."""
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + tensors)


def hub_snapshot(cache: Path, repository: str, source: Path = STORIES, *, commit: str = "a" * 40, branch: str = "main") -> Path:
    """Lay `source` into a Hugging Face cache as the library itself does after a download."""
    place = cache / f"models--{repository.replace('/', '--')}"
    snapshot = place / "snapshots" / commit
    shutil.copytree(source, snapshot)
    (place / "refs").mkdir(exist_ok=True)
    (place / "refs" / branch).write_text(commit)
    return snapshot
