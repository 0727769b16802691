"""Every setting: a section per package, each field typed, bounded and described. Those of models and engines are in `models.py`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pomona.core.generation import Priority
from pomona.core.settings.models import (
    EngineSettings,
    FleetSettings,
    HubSettings,
    ModelsSettings,
    PicturesSettings,
    ResidencySettings,
    VectorsSettings,
)
from pomona.core.settings.section import Section

Port = Annotated[int, Field(ge=0, le=65535)]


class ServerSettings(Section):
    """The HTTP gateway."""

    host: str = Field(default="127.0.0.1", description="Address of the public API.")
    port: Port = Field(default=11440, description="Port of the public API; 0 picks a free one.")
    admin_host: str = Field(default="127.0.0.1", description="Address of health, readiness and metrics.")
    admin_port: Port = Field(default=11441, description="Port of health, readiness and metrics; 0 picks a free one.")
    max_body_bytes: int = Field(default=32 * 2**20, ge=1024, le=2**30, description="Largest request body accepted, in bytes.")
    keepalive_seconds: float = Field(default=10.0, gt=0, le=600, description="A silent stream sends a comment this often.")
    shutdown_notice_seconds: float = Field(
        default=0.0,
        ge=0,
        le=600,
        description="At shutdown `/ready` says no this long before new requests are refused: what load balancers need to notice.",
    )
    shutdown_grace_seconds: float = Field(
        default=10.0, ge=0, le=3600, description="Running answers get this long to finish at shutdown, while new requests get 503."
    )


class AccessSettings(Section):
    """Who may talk to the server."""

    insecure: bool = Field(default=False, description="Serve without API keys on addresses that other machines can reach.")
    keys_file: Path | None = Field(default=None, description="File of API keys (hashed); unset: keys.json in the user's data folder.")
    key: str | None = Field(default=None, description="API key that `chat`, `generate` and `launch` send to a server.")
    allowed_origins: tuple[str, ...] = Field(
        default=("http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*"),
        description='Web pages that may call the API from a browser (CORS), by origin: * stands for any port or name, ["*"] for all pages.',
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(), description="More names by which an open server on this machine may be called (see DNS rebinding)."
    )
    open_metrics: bool = Field(default=False, description="Let /metrics be read without an admin key.")


class LimitsSettings(Section):
    """How much callers may ask for. Keys have limits of their own; those here that begin with `anonymous_` hold for callers without one."""

    anonymous_requests_per_minute: int | None = Field(default=None, ge=1, description="Requests a minute of each address; unset: any.")
    anonymous_tokens_per_minute: int | None = Field(
        default=None, ge=1, description="Tokens a minute of each address, read (cached ones apart) and written; unset: any."
    )
    anonymous_concurrent: int | None = Field(default=None, ge=1, description="Answers at a time for each address; unset: any.")
    anonymous_priority: Priority = Field(default="high", description="Highest priority that X-Priority and service_tier may ask for.")
    max_wait_seconds: float | None = Field(
        default=None, gt=0, description="Refuse a request at once when its wait in the queue is estimated to be longer; unset: never."
    )
    request_seconds: float | None = Field(default=None, gt=0, description="Longest time for one answer; unset: any.")
    body_seconds: float = Field(default=120.0, gt=0, le=86400, description="Longest time in which a request body must arrive.")
    header_seconds: float = Field(default=20.0, gt=0, le=3600, description="Longest time in which the headers of a request must arrive.")
    max_header_bytes: int = Field(default=65536, ge=1024, le=2**24, description="Largest head of a request, in bytes.")
    max_headers: int = Field(default=128, ge=8, le=10_000, description="Most headers of a request.")
    max_connections: int = Field(default=2048, ge=1, le=1_000_000, description="Most open connections of the public address.")
    retry_grace_seconds: float = Field(
        default=2.0,
        ge=0,
        le=600,
        description="Work of a session goes on this long after its client left, in case it sends the request again.",
    )
    retry_buffer_bytes: int = Field(
        default=64 * 2**20, ge=0, le=2**40, description="Memory for answers that a request sent again may join, in bytes; 0: none join."
    )


class AnthropicSettings(Section):
    """Anthropic's API."""

    strip_attribution: bool = Field(
        default=True,
        description="Leave Claude Code's attribution line, which changes with each request, out of the prompt, so that its beginning stays "
        "in the prefix cache.",
    )


class ResponsesSettings(Section):
    """OpenAI's Responses API."""

    store_bytes: int = Field(
        default=256 * 2**20, ge=0, le=2**40, description="Memory for stored responses in bytes; the least recently used go first."
    )
    store_seconds: float = Field(default=86400.0, gt=0, le=10**8, description="A stored response is kept this long at most.")
    max_background: int = Field(
        default=64, ge=0, le=10_000, description="Most responses that are made in the background at a time; one more is refused with 503."
    )


class LoggingSettings(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least severe level that is shown.")
    format: Literal["auto", "human", "json"] = Field(default="auto", description="auto: lines for people on a terminal, JSON otherwise.")


class TracingSettings(Section):
    """What is remembered of where the time of requests went."""

    requests: int = Field(default=500, ge=1, le=100_000, description="Last requests whose times are kept, for `pomona trace`.")
    bytes: int = Field(default=8 * 2**20, ge=2**16, le=2**40, description="What they may take in memory; the oldest go first.")


class Settings(Section):
    """All settings of one Pomona."""

    server: ServerSettings = ServerSettings()
    engine: EngineSettings = EngineSettings()
    fleet: FleetSettings = FleetSettings()
    models: ModelsSettings = ModelsSettings()
    hub: HubSettings = HubSettings()
    residency: ResidencySettings = ResidencySettings()
    pictures: PicturesSettings = PicturesSettings()
    vectors: VectorsSettings = VectorsSettings()
    access: AccessSettings = AccessSettings()
    limits: LimitsSettings = LimitsSettings()
    anthropic: AnthropicSettings = AnthropicSettings()
    responses: ResponsesSettings = ResponsesSettings()
    logging: LoggingSettings = LoggingSettings()
    tracing: TracingSettings = TracingSettings()
