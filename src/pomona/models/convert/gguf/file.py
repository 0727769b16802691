"""What a GGUF file holds, read through the library `gguf`: facts by key, tensors by name."""

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import ModelUnusable

READ_ERRORS = (ValueError, IndexError, KeyError, OSError, UnicodeDecodeError, OverflowError, MemoryError, TypeError, AssertionError)
"""What the library raises for files that are cut, or no GGUF."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufTensor:
    """One tensor as stored. `data` is (…, bytes of a row) where it is packed, else (…, values of a row); the file is mapped, not read."""

    name: str
    kind: str
    """Type in the file's words, such as F16 or Q4_K."""
    shape: tuple[int, ...]
    """As the model has it: (outputs, inputs)."""
    data: NDArray[Any]


class GgufFile:
    """An open GGUF file. Raises ModelUnusable where it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise ModelUnusable(f"There is no file {str(path)!r}.")
        library = cast("Any", importlib.import_module("gguf"))
        try:
            self._reader = library.GGUFReader(path)
            self._fields: Mapping[str, Any] = self._reader.fields
            self.tensor_names = frozenset(str(tensor.name) for tensor in self._reader.tensors)
        except READ_ERRORS as error:
            raise ModelUnusable(f"The file {str(path)!r} cannot be read as GGUF: {error}. Download it again.") from None
        self.architecture = self.text("general.architecture", "")
        if int(self.number("split.count", 1)) > 1:
            raise ModelUnusable(f"{path.name!r} is one of {self.number('split.count', 1):g} parts. Merge them with llama-gguf-split first.")

    def __contains__(self, key: str) -> bool:
        return key in self._fields

    def number(self, key: str, default: float | None = None) -> float:
        """A number; of a list, its largest. Raises ModelUnusable where it is missing and there is no default."""
        value = self._value(key, default)
        if isinstance(value, list):
            value = max(cast("list[float]", value), default=0)
        if not isinstance(value, int | float):
            self.refuse(f"says {key} = {value!r}, which must be a number")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """A text. Raises ModelUnusable where it is missing and there is no default."""
        value = self._value(key, default)
        if not isinstance(value, str):
            self.refuse(f"says {key} = {value!r}, which must be a text")
        return value

    def items(self, key: str) -> list[Any]:
        """A list; empty where it is missing."""
        value = self._value(key, [])
        return cast("list[Any]", value) if isinstance(value, list) else [value]

    def tensors(self) -> Iterator[GgufTensor]:
        """All tensors, in the order of the file."""
        for tensor in self._reader.tensors:
            shape = tuple(int(size) for size in reversed(tensor.shape))
            yield GgufTensor(name=str(tensor.name), kind=str(tensor.tensor_type.name), shape=shape, data=tensor.data)

    def tensor(self, name: str) -> GgufTensor | None:
        """One tensor, if it is there."""
        return next((tensor for tensor in self.tensors() if tensor.name == name), None)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors as stored."""
        return sum(int(tensor.n_bytes) for tensor in self._reader.tensors)

    def refuse(self, reason: str) -> NoReturn:
        """Raise ModelUnusable for a file that says something wrong."""
        raise ModelUnusable(f"The file {str(self.path)!r} {reason}.")

    def _value(self, key: str, default: object) -> object:
        field = self._fields.get(key)
        if field is None:
            if default is None:
                self.refuse(f"has no entry {key!r}, which a model of architecture {self.architecture!r} needs")
            return default
        try:
            value: object = field.contents()
        except READ_ERRORS as error:
            raise ModelUnusable(f"The entry {key!r} of {str(self.path)!r} cannot be read: {error}. Download the file again.") from None
        return value.tolist() if isinstance(value, np.ndarray) else value
