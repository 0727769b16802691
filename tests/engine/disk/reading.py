"""Reading one file as the store does."""

from pathlib import Path

import numpy as np

from pomona.engine.cache.disk.form import FileForm, Tensor
from pomona.engine.cache.disk.store import DiskStore
from tests.engine.disk.engines import ROOM
from tests.engine.harness import PAGE

LLAMA = Tensor("pages.0", "F32", (6, 2, PAGE, 16))
"""A page of the family `llama`: keys and values of three layers with two heads."""


def read_alone(path: Path) -> bool:
    """Whether the store takes it for good."""
    form = FileForm([LLAMA], path.parent.name)
    store = DiskStore(path.parent.parent.parent, path.parent.name, ROOM, {})
    return store.read(path.name.removesuffix(".safetensors"), form, np.empty(form.data_bytes, np.uint8))
