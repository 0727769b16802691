"""Which weights pages were computed with, told without reading all of them.

Of each file of weights: its name and size, the whole header (in safetensors files: names, types and shapes of all tensors) and samples
of 4 KiB spread over it, the last one at its end; of the config: all. Training changes nearly every weight, so samples tell versions
of one model apart; a copy of the folder is the same model. Some 35 reads a file, whatever its size.
"""

from hashlib import blake2b
from pathlib import Path

SAMPLES = 32
SAMPLE_BYTES = 4096
LONGEST_HEADER = 2**26
"""Bytes; headers of models are below 2 MB, longer ones are not read to their end."""
WEIGHTS = (".safetensors", ".gguf", ".npz", ".bin")


def fingerprint_weights(folder: Path) -> str:
    """32 hexadecimal digits for the model in `folder`. Raises OSError."""
    digest = blake2b(digest_size=16)
    config = folder / "config.json"
    digest.update(config.read_bytes() if config.is_file() else b"")
    for path in sorted(path for path in folder.iterdir() if path.suffix in WEIGHTS):
        size = path.stat().st_size
        digest.update(f"{path.name} {size} ".encode())
        for start, length in _samples(path, size):
            with path.open("rb", buffering=0) as file:
                file.seek(start)
                digest.update(file.read(length))
    return digest.hexdigest()


def _samples(path: Path, size: int) -> list[tuple[int, int]]:
    """(start, length) of what is read of a file of `size` bytes."""
    head = SAMPLE_BYTES
    if path.suffix == ".safetensors":
        with path.open("rb", buffering=0) as file:
            head = min(8 + int.from_bytes(file.read(8), "little"), LONGEST_HEADER)
    left = max(0, size - head - SAMPLE_BYTES)
    return [(0, head), *((head + left * number // (SAMPLES - 1), SAMPLE_BYTES) for number in range(SAMPLES))]
