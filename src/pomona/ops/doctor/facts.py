"""What the doctor knows of a machine. The defaults describe a healthy one, so that a test changes only what it is about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pomona.core.status import GuardLevel

GIB = 2**30
PortState = Literal["free", "pomona", "taken", "forbidden"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformFacts:
    """Hardware and operating system. Sizes in bytes; `glibc` is None where the C library is another one."""

    python: tuple[int, int, int] = (3, 11, 0)
    system: str = "Linux"
    machine: str = "x86_64"
    release: tuple[int, ...] = (6, 1)
    glibc: tuple[int, int] | None = (2, 36)
    cpus: int = 8
    memory_total: int = 16 * GIB
    memory_free: int = 8 * GIB
    memory_budget: int = 12 * GIB
    """What all loaded models together may have."""
    memory_guard: GuardLevel = "safe"
    """The level at which the guard of a server would be now."""
    descriptors: int = 65536
    """Files and sockets that one process may hold open."""
    encoding: str = "utf-8"
    year: int = 2026
    compiler: str | None = "/usr/bin/cc"


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryFacts:
    """Versions of what is installed (None: missing)."""

    versions: Mapping[str, str | None] = field(default_factory=dict[str, str | None])


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """What a child process with MLX found. `problem` is the reason when it could not even begin."""

    problem: str | None = None
    wanted: str = "auto"
    device: str = "cpu"
    name: str = "processor"
    memory: int = 16 * GIB
    blas: str | None = "system OpenBLAS"
    blas_advice: str = ""
    gigaflops: float | None = 150.0
    """Speed of a 1024 x 1024 x 1024 float32 product on the CPU."""
    model_problem: str | None = None
    tokenizer_problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder that Pomona writes to. `problem` says why it cannot."""

    path: str
    free: int = 100 * GIB
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCache:
    """The local cache of Hugging Face. Size in bytes."""

    path: str = "~/.cache/huggingface/hub"
    models: int = 0
    size: int = 0
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """An address that the settings name, and who has it now. `detail` is what answered there."""

    host: str = "127.0.0.1"
    number: int = 11440
    state: PortState = "free"
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFacts:
    """What runs now."""

    public: Port = Port()
    admin: Port = Port(number=11441)
    unhealthy: str | None = None
    """What a running server's health says when it is not well."""
    socket_path: str = "/tmp/pomona-abcdefgh/engine.sock"
    socket_problem: str | None = None
    strays: tuple[int, ...] = ()
    """Process ids of engines whose gateway is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsFacts:
    """The settings files that were found, and what is wrong with them."""

    files: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All of it."""

    platform: PlatformFacts = PlatformFacts()
    libraries: LibraryFacts = field(default_factory=LibraryFacts)
    device: DeviceFacts = DeviceFacts()
    cache: Folder = Folder(path="~/.cache/pomona")
    config: Folder = Folder(path="~/.config/pomona")
    models: ModelCache = ModelCache()
    service: ServiceFacts = ServiceFacts()
    settings: SettingsFacts = SettingsFacts()
