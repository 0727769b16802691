"""Getting models: what a hub has, what it would take to have it here, and how far a download is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pomona.core.status import Fit, Task

Quantization = Literal["4bit", "8bit", "mxfp4", "nvfp4"]
PullState = Literal["queued", "downloading", "verifying", "converting", "finished", "failed", "cancelled"]
_WORD = "[A-Za-z0-9][A-Za-z0-9_.-]*"
REFERENCE_PATTERN = rf"^{_WORD}/{_WORD}(/[A-Za-z0-9_./ -]+\.(gguf|GGUF))?(@[^@+\s]+)?$"
"""ORGANISATION/NAME, ORGANISATION/NAME/FILE.gguf, each with @REVISION or without. Nothing in it may be `..`."""
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.:-]*(/[A-Za-z0-9_.:-]+)*$"
"""What an alias or a registered model may be called."""
LONGEST_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class HubModel:
    """A model repository of the hub. Sizes are in bytes; None where the hub does not say."""

    id: str
    downloads: int = 0
    likes: int = 0
    updated_at: str | None = None
    """ISO 8601."""
    tags: tuple[str, ...] = ()
    gated: bool = False
    private: bool = False
    model_type: str | None = None
    parameters: int | None = None
    weight_bytes: int | None = None
    quantization: str | None = None
    mlx: bool = False
    gguf_files: tuple[str, ...] = ()
    loadable: bool | None = None
    """Its architecture can be loaded here; None where that is not known yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitReport:
    """Whether a model fits this machine: `memory` by form of its weights ("as stored", "8bit", …), and the disk."""

    memory: Mapping[str, Fit]
    required_bytes: Mapping[str, int]
    memory_bytes: int
    """What models may use."""
    download_bytes: int
    disk_free_bytes: int
    best: str | None = None
    """The largest form that fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequest:
    """A model to get: `reference` is ORGANISATION/NAME, with @REVISION or without, or a GGUF file of one (ORGANISATION/NAME/FILE.gguf)."""

    reference: str
    quantize: Quantization | None = None
    force: bool = False
    """Also where it does not fit into memory."""
    name: str | None = None
    """An alias to give it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullStatus:
    """A download, now. Bytes are of all its files."""

    id: str
    reference: str
    state: PullState
    done_bytes: int = 0
    total_bytes: int | None = None
    bytes_per_second: float = 0.0
    file: str | None = None
    """The file that is being worked on."""
    model: str | None = None
    """What to ask for, once it is finished."""
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredModel:
    """An entry of the registry: a model or adapter that somebody named, wherever its files are."""

    name: str
    path: str
    """Folder of the model, or of the adapter where `base` is given."""
    base: str | None = None
    """The model that an adapter stands on."""
    task: Task | None = None
    registered_by: str = ""
    model_id: str | None = None
    """Its id in the system that registered it."""
    metadata: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanReport:
    """What looking through a folder brought: what is registered now, and folders that could not be, with the reasons."""

    registered: tuple[RegisteredModel, ...]
    skipped: Mapping[str, str]
