"""What an adapter is, whoever wrote its files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from pomona.core.errors import AdapterUnusable
from pomona.models.weights import Tensor

Layout = Literal["peft", "mlx-lm"]
Kind = Literal["linear", "embedding", "experts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What an adapter adds to one layer: `scale` times the product of `down` and `up`, which are names of tensors.

    Tensors are (inputs, rank) and (rank, outputs), the other way round where `turned`; those of all experts at once have one more
    dimension in front. `magnitude` (outputs,) makes it DoRA: the length of each line of the changed weight.
    """

    module: str
    """The layer, as the adapter calls it."""
    kind: Kind | None
    """None: the tensors fit both a linear layer and an embedding; the model decides."""
    down: str
    up: str
    inputs: int
    outputs: int
    rank: int
    scale: float
    turned: bool
    magnitude: str | None = None
    experts: int = 0
    """Experts in one pair of tensors; 0: it is no pair of all experts."""
    expert: int | None = None
    """The one expert that it is for."""
    copy: str | None = None
    """The layer's own weight: PEFT saves that of embeddings, in case it was changed."""
    untied: bool = False
    """Of an embedding: leaves the output layer alone that shares its weight, as PEFT does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFacts:
    """An adapter folder that passed the checks of its own files. Whether it fits a model is `placing.place`'s to say."""

    path: Path
    weights: Path
    """The file of its tensors."""
    layout: Layout
    dora: bool
    rank: int
    """The largest."""
    base: str | None
    """The model that it says it was made for: a name or a path of wherever it was made."""
    parts: tuple[Part, ...]
    tensors: Mapping[str, Tensor]
    weight_bytes: int
    fingerprint: bytes

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.path.name

    @property
    def targets(self) -> tuple[str, ...]:
        """The kinds of layers that it changes, such as q_proj."""
        return tuple(sorted({part.module.rpartition(".")[2] for part in self.parts}))


def refuse(path: Path, reason: str) -> NoReturn:
    """Raise AdapterUnusable naming a file or folder of the adapter."""
    name, place = (
        (path.parent.name, f"the file {str(path)!r}") if path.suffix == ".json" or path.is_file() else (path.name, f"{str(path)!r}")
    )
    raise AdapterUnusable(f"The adapter {name!r} cannot be used: {place} {reason}")
