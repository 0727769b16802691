"""One file: a safetensors file whose every byte is known beforehand, but for the data and its checksum.

Shapes and types follow from the model, so the header of a good file is exactly the one that would be written now. What differs in any
byte, is shorter or longer, or whose checksum is wrong, is no such file; nothing in it is ever interpreted.
"""

import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

ALIGNMENT = 8
"""Bytes; safetensors headers may end in spaces."""
SIZES = {"F32": 4, "U32": 4, "F16": 2, "BF16": 2, "U16": 2, "U8": 1, "I32": 4}
"""By the names of safetensors, which has more."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a file."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its data."""
        return SIZES[self.dtype] * prod(self.shape)


class FileForm:
    """What files of one kind look like: `tensors` one behind another, under a header that names them, their `version` and the file."""

    def __init__(self, tensors: Sequence[Tensor], version: str) -> None:
        self.tensors = tuple(tensors)
        self.data_bytes = sum(tensor.nbytes for tensor in tensors)
        self._version = version
        self.nbytes = len(self.header("", 0)) + self.data_bytes
        """Of a file with an empty name; longer names take a little more."""

    def header(self, name: str, checksum: int) -> bytes:
        """The bytes before the data."""
        entries: dict[str, object] = {"__metadata__": {"crc32": f"{checksum:08x}", "version": self._version, "name": name}}
        end = 0
        for tensor in self.tensors:
            start, end = end, end + tensor.nbytes
            entries[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [start, end]}
        text = json.dumps(entries, separators=(",", ":")).encode()
        text += b" " * (-len(text) % ALIGNMENT)
        return len(text).to_bytes(8, "little") + text

    def write(self, descriptor: int, name: str, parts: Sequence[memoryview]) -> int:
        """Write the file; its size. Raises OSError."""
        checksum = zlib.crc32(self.header(name, 0))
        for part in parts:
            checksum = zlib.crc32(part, checksum)
        pieces = [memoryview(self.header(name, checksum)), *parts]
        for piece in pieces:
            left = piece.cast("B")
            while left:
                left = left[os.write(descriptor, left) :]
        return sum(piece.nbytes for piece in pieces)

    def read_into(self, descriptor: int, name: str, data: np.ndarray) -> bool:
        """Fill `data`, (data_bytes,) of bytes, from a file; False if it is not exactly what `write` made. Raises OSError."""
        blank = self.header(name, 0)
        found = bytearray(len(blank))
        if not (_fill(descriptor, memoryview(found)) and _fill(descriptor, data.data)) or os.read(descriptor, 1):
            return False
        checksum = zlib.crc32(data.data, zlib.crc32(blank))
        return bytes(found) == self.header(name, checksum)

    def split(self, data: np.ndarray) -> list[np.ndarray]:
        """(files, data_bytes) of bytes as one array (files, bytes) for each tensor: views."""
        ends = np.cumsum([tensor.nbytes for tensor in self.tensors])
        return [data[:, end - tensor.nbytes : end] for tensor, end in zip(self.tensors, ends, strict=True)]


def _fill(descriptor: int, space: memoryview) -> bool:
    left = space
    while left:
        count = os.readv(descriptor, [left])
        if not count:
            return False
        left = left[count:]
    return True
