"""One tree of settings, a section per package, and where each value came from.

Order, strongest first: command line > environment (`POMONA_SECTION__FIELD`) > project file (`pomona.toml`, `pomona.yaml`)
> user file (`~/.config/pomona/config.toml`) > profile > defaults. Read once, in `pomona.app`; nothing else reads the environment.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pomona.core.errors import ConfigurationError
from pomona.core.generation import Priority

PROJECT_FILES = ("pomona.toml", "pomona.yaml", "pomona.yml")
ENVIRONMENT_PREFIX = "POMONA_"
Tree = dict[str, object]
Port = Annotated[int, Field(ge=0, le=65535)]


class Section(BaseModel):
    """A group of settings: unknown names are errors, values are checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(Section):
    """The HTTP gateway."""

    host: str = Field(default="127.0.0.1", description="Address of the public API.")
    port: Port = Field(default=11440, description="Port of the public API; 0 picks a free one.")
    admin_host: str = Field(default="127.0.0.1", description="Address of health, readiness and metrics.")
    admin_port: Port = Field(default=11441, description="Port of health, readiness and metrics; 0 picks a free one.")
    max_body_bytes: int = Field(default=32 * 2**20, ge=1024, le=2**30, description="Largest request body accepted, in bytes.")
    keepalive_seconds: float = Field(default=10.0, gt=0, le=600, description="A silent stream sends a comment this often.")
    shutdown_grace_seconds: float = Field(default=10.0, ge=0, le=3600, description="Running answers get this long to finish at shutdown.")


class EngineSettings(Section):
    """Scheduling and memory of one engine process."""

    max_rows: int = Field(default=64, ge=1, le=1024, description="Most requests that decode together in one step.")
    max_waiting: int = Field(default=1024, ge=1, le=100_000, description="Most requests that wait; one more is refused with 503.")
    step_token_budget: int = Field(
        default=512, ge=16, le=65536, description="Most tokens in one step: decode rows first, prefill chunks get the rest."
    )
    max_context: int | None = Field(
        default=None, ge=16, description="Longest prompt and answer in tokens; unset: what the model was trained for."
    )
    page_tokens: int = Field(default=32, ge=8, le=256, description="Tokens per KV page: the granularity of sharing.")
    kv_cache_bytes: int | None = Field(default=None, ge=4096, description="Budget of all KV pages in bytes; unset: a share of free memory.")
    kv_cache_share: float = Field(
        default=0.3, gt=0, le=0.9, description="Share of free memory for KV pages where `kv_cache_bytes` is unset."
    )
    kv_bits: Literal[4, 8] | None = Field(
        default=None, description="Quantise keys and values to this many bits; unset: keep the model's type."
    )
    prefix_cache: bool = Field(default=True, description="Reuse the pages of equal prompt beginnings.")
    recurrent_snapshot_bytes: int = Field(
        default=2**28, ge=0, description="Budget for state snapshots of recurrent (hybrid) models, in bytes."
    )


class FleetSettings(Section):
    """Engine processes and their supervision."""

    heartbeat_seconds: float = Field(default=1.0, gt=0, le=60, description="How often an idle engine proves that its device still works.")
    hang_seconds: float = Field(default=120.0, gt=1, le=3600, description="An engine silent this long is killed and started again.")
    load_seconds: float = Field(default=900.0, gt=1, le=86400, description="Longest time that loading a model may take.")
    ready_wait_seconds: float = Field(
        default=30.0, ge=0, le=3600, description="A request that finds the engine loading or restarting waits this long, then gets 503."
    )
    max_restarts: int = Field(
        default=5, ge=0, le=1000, description="Restarts in a row, without a finished request between, before giving up."
    )
    reader_high_water: int = Field(default=512, ge=8, le=100_000, description="Unread tokens after which a slow reader's row is paused.")


class ModelsSettings(Section):
    """Which model is served, and where models are looked for."""

    default: str = Field(default="pomona-tiny", description="Model that `serve`, `chat` and `generate` use.")
    aliases: dict[str, str] = Field(default_factory=dict, description="Names of your own for models: alias = reference.")
    stands_in_for: tuple[str, ...] = Field(
        default=("claude-*", "gpt-*", "codex-*", "chatgpt-*", "o[134]*"),
        description="Patterns of names, such as those that Claude Code and Codex ask for, that mean the default model.",
    )
    folders: tuple[Path, ...] = Field(default=(), description="Folders whose subfolders are models.")
    device: Literal["auto", "metal", "cuda", "cpu"] = Field(default="auto", description="Where the model runs.")
    blas: Literal["auto", "system", "bundled", "off"] = Field(
        default="auto", description="Fast BLAS under MLX on Linux CPUs: system OpenBLAS, scipy-openblas32, or none."
    )
    use_generation_config: bool = Field(
        default=True,
        description="Where a request leaves temperature, top-k, top-p, min-p or repetition penalty open, take the model's own.",
    )
    dequantize_on_cpu: bool = Field(
        default=True, description="On CPUs, expand weights to float32 when loading (MLX's CPU products of other types are scalar)."
    )
    constrain_tool_calls: bool = Field(
        default=True,
        description="Calls that a model makes of its own accord are held to the tools' names and schemas. Required, named and strict "
        "calls always are.",
    )
    chat_template: Path | None = Field(
        default=None, description="Chat template (a Jinja file) for the default model; unset: the one in the model's folder."
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


class Settings(Section):
    """All settings of one Pomona."""

    server: ServerSettings = ServerSettings()
    engine: EngineSettings = EngineSettings()
    fleet: FleetSettings = FleetSettings()
    models: ModelsSettings = ModelsSettings()
    access: AccessSettings = AccessSettings()
    limits: LimitsSettings = LimitsSettings()
    anthropic: AnthropicSettings = AnthropicSettings()
    responses: ResponsesSettings = ResponsesSettings()
    logging: LoggingSettings = LoggingSettings()


PROFILES: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "development": {"logging": {"level": "debug"}},
    "production": {"logging": {"format": "json"}, "server": {"shutdown_grace_seconds": 30.0}},
    "test": {"server": {"port": 0, "admin_port": 0}, "logging": {"level": "warning"}},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSettings:
    """The settings and, per dotted name, where each value that is not a default came from."""

    settings: Settings
    origins: Mapping[str, str]

    def origin(self, name: str) -> str:
        """Where the value of `section.field` came from."""
        return self.origins.get(name, "default")


def load_settings(
    *,
    command_line: Mapping[str, object],
    environment: Mapping[str, str],
    project_folder: Path,
    user_file: Path,
    profile: str | None = None,
) -> LoadedSettings:
    """Merge all sources. `command_line` maps dotted names to values. Raises ConfigurationError naming value and origin."""
    merged: Tree = {}
    origins: dict[str, str] = {}
    for origin, tree in _sources(command_line, environment, project_folder, user_file, profile):
        _merge(merged, tree, origins, origin)
    try:
        return LoadedSettings(settings=Settings.model_validate(merged), origins=origins)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, origins)) from None


def _sources(
    command_line: Mapping[str, object],
    environment: Mapping[str, str],
    project_folder: Path,
    user_file: Path,
    profile: str | None,
) -> list[tuple[str, Tree]]:
    """(origin, tree) pairs, weakest first."""
    sources: list[tuple[str, Tree]] = []
    profile = profile or environment.get("POMONA_PROFILE")
    if profile:
        if profile not in PROFILES:
            raise ConfigurationError(f"There is no profile {profile!r}. Choose one of {', '.join(PROFILES)}.")
        sources.append((f"profile {profile}", cast("Tree", PROFILES[profile])))
    project_files = [project_folder / name for name in PROJECT_FILES]
    for path in (user_file, *project_files):
        if path.is_file():
            sources.append((str(path), _read_file(path)))
    sources += [(f"environment {name}", tree) for name, tree in _read_environment(environment)]
    sources.append(("command line", _nest(command_line)))
    return sources


def _read_file(path: Path) -> Tree:
    try:
        text = path.read_text(encoding="utf-8")
        tree = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text) or {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"The settings file {str(path)!r} cannot be read: {error}. Mend or remove it.") from None
    if not isinstance(tree, dict):
        raise ConfigurationError(f"The settings file {str(path)!r} must hold sections, such as [server]; it holds a {type(tree).__name__}.")
    return cast("Tree", tree)


def _read_environment(environment: Mapping[str, str]) -> list[tuple[str, Tree]]:
    """Variables named POMONA_SECTION__FIELD, each as a tree of one value."""
    found: list[tuple[str, Tree]] = []
    for name, text in sorted(environment.items()):
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name:
            dotted = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
            found.append((name, _nest({dotted: parse_value(text)})))
    return found


def parse_value(text: str) -> object:
    """JSON where it is JSON (lists, objects, null), else the text itself; pydantic turns text into numbers."""
    if text[:1] in "[{" or text == "null":
        try:
            return cast("object", json.loads(text))
        except ValueError:
            return text
    return text


def _nest(dotted: Mapping[str, object]) -> Tree:
    tree: Tree = {}
    for name, value in dotted.items():
        *parents, leaf = name.split(".")
        here = tree
        for parent in parents:
            here = cast("Tree", here.setdefault(parent, {}))
        here[leaf] = value
    return tree


def _merge(into: Tree, tree: Mapping[str, object], origins: dict[str, str], origin: str, path: str = "") -> None:
    for key, value in tree.items():
        name = f"{path}{key}"
        if isinstance(value, dict) and isinstance(into.setdefault(key, {}), dict):
            _merge(cast("Tree", into[key]), cast("Tree", value), origins, origin, f"{name}.")
        else:
            into[key] = value
            origins[name] = origin


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    lines: list[str] = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        origin = origins.get(name) or next((origin for leaf, origin in origins.items() if leaf.startswith(f"{name}.")), "defaults")
        if problem["type"] == "extra_forbidden":
            lines.append(f"There is no setting {name!r} (from {origin}). `pomona config:show` lists all settings.")
        else:
            lines.append(f"Setting {name} = {problem['input']!r} (from {origin}): {problem['msg']}.")
    return "\n".join(lines)
