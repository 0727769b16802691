"""Models as the admin address shows them, and what it reads. The fields of unified-mlx-app and mlx-inference-server keep their names."""

from typing import Annotated, Literal

from pydantic import Field

from pomona.core.status import GuardLevel, ResidencyState, Task
from pomona.server.bodies import SECONDS_PATTERN, WireBody

Source = Literal["bundled", "folder", "hub", "adapter"]


class Plan(WireBody):
    """What a model is expected to need, in bytes."""

    weights: int
    kv: int
    activations: int
    process: int
    total: int


class ModelDocument(WireBody):
    """One model. Times are Unix seconds, sizes bytes, `memory_gb` is in GB of 2**30."""

    id: str
    registered: Literal[True]
    loaded: bool
    state: ResidencyState
    task: Task
    vision: bool
    source: Source
    type: Literal["base", "lora", "vision"]
    path: str
    aliases: list[str]
    parent: str | None
    base_model: str
    adapter_path: str | None
    registered_by: str | None
    model_id: str | None
    max_context: int | None
    pinned: bool
    keep_alive_seconds: float | None
    expires_at: float | None
    active_requests: int
    waiting_requests: int
    last_used_at: float | None
    loaded_at: float | None
    load_seconds: float | None
    memory_gb: float | None
    measured_bytes: int | None
    plan: Plan | None
    problem: str | None


class ModelPage(WireBody):
    """A page of the models that fit the filters, by id. `total_models` and `loaded_models` count all that fit."""

    total_models: int
    loaded_models: int
    page: int
    page_size: int
    models: dict[str, ModelDocument]


class LoadBody(WireBody):
    """How to load a model; without a body, as the settings say."""

    keep_alive: float | Annotated[str, Field(json_schema_extra={"pattern": SECONDS_PATTERN})] | None = Field(
        default=None,
        description="How long it stays loaded after its last request: seconds, or text such as '10m'; 0: not at all, negative: for ever.",
    )
    pin: bool = Field(default=False, description="Keep it in memory from then on.")


class LoadAnswer(WireBody):
    """`loaded`, or `loading` where the client did not want to wait."""

    status: Literal["loaded", "loading"]
    model: str
    model_name: str
    memory_gb: float | None
    load_time: float | None
    details: ModelDocument


class UnloadBody(WireBody):
    """How to unload a model."""

    force: bool = Field(default=False, description="End its answers rather than wait for them.")


class UnloadAnswer(WireBody):
    """What unloading gave back."""

    status: Literal["unloaded"]
    model: str
    freed_bytes: int
    memory_freed_gb: float
    unload_time: float


class UnloadAllAnswer(WireBody):
    """What unloading one model, or all, gave back. `model_name` and `model_unloaded` are the first one."""

    status: Literal["success"]
    model_name: str
    model_unloaded: str
    models: list[str]
    memory_freed_gb: float
    unload_time: float


class LoadedAnswer(WireBody):
    """What mlx-inference-server says of a model that it has loaded. `load_time` is in seconds."""

    status: Literal["success"]
    model_name: str
    memory_gb: float | None
    load_time: float | None


class PinBody(WireBody):
    """Whether to keep a model in memory once it is loaded."""

    pinned: bool = True


class Abilities(WireBody):
    """What a model can do. `tools`: its own template shows them (others are taught in words); None where its files do not say."""

    text: bool
    vision: bool
    tools: bool | None
    reasoning: bool | None
    chat: bool | None
    embeddings: bool
    rerank: bool


class Detection(WireBody):
    """Where an ability was found."""

    task: Literal["config"]
    vision: Literal["config"]
    tools: Literal["chat_template", "none"]
    reasoning: Literal["chat_template", "none"]


class ModelCapabilities(WireBody):
    """One model and what it can do. `context` is in tokens, null until it is known."""

    model: str
    task: Task
    loaded: bool
    context: int | None
    capabilities: Abilities
    detection: Detection
    notes: str | None


class CapabilitiesAnswer(WireBody):
    """The model that was asked for, else the default one, in mlx-inference-server's words; then all."""

    model: str | None
    capabilities: Abilities | None
    detection_method: Literal["chat_template", "config", "no_model"]
    mlx_vlm_available: bool
    notes: str | None
    models: list[ModelCapabilities]


class ModelMemory(WireBody):
    """The memory of one model, in bytes."""

    id: str
    state: ResidencyState
    planned_bytes: int | None
    measured_bytes: int | None
    active_requests: int
    pinned: bool


class MemoryDocument(WireBody):
    """Memory in bytes, `available_gb` in GB of 2**30. `status` is the guard's level, `levels_gb` where each level begins."""

    status: GuardLevel
    guard_enabled: bool
    accepting_requests: bool
    available_gb: float
    total_bytes: int
    free_bytes: int
    budget_bytes: int
    planned_bytes: int
    measured_bytes: int
    levels_gb: dict[str, float]
    models: list[ModelMemory]
