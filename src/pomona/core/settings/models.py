"""Settings of models and engines: where models come from, how they are kept in memory, how they answer."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from pomona.core.settings.section import Section

STEP_TOKENS_ON_CPU, STEP_TOKENS_ON_GPU = 512, 2048


class EngineSettings(Section):
    """Scheduling and memory of one engine process."""

    max_rows: int = Field(default=64, ge=1, le=1024, description="Most requests that decode together in one step.")
    max_waiting: int = Field(default=1024, ge=1, le=100_000, description="Most requests that wait; one more is refused with 503.")
    step_token_budget: int | None = Field(
        default=None,
        ge=16,
        le=65536,
        description="Most tokens in one step: decode rows first; prompts get what is left, or less where the targets ask for it. Unset: "
        f"{STEP_TOKENS_ON_CPU} on CPUs, {STEP_TOKENS_ON_GPU} on GPUs.",
    )
    scheduling: Literal["adaptive", "arrival"] = Field(
        default="adaptive",
        description="adaptive: callers share evenly, short requests go first, prompts are read in pieces that keep the targets below; "
        "arrival: first come, first served within a class, and pieces as large as the budget.",
    )
    high_first_token_seconds: float = Field(
        default=1.0, gt=0, le=3600, description="Target for requests of class high: longest time to the first token."
    )
    high_gap_seconds: float = Field(
        default=0.1, gt=0, le=60, description="Target for requests of class high: longest time between two tokens of a stream."
    )
    normal_first_token_seconds: float = Field(
        default=2.0, gt=0, le=3600, description="Target for requests of class normal: longest time to the first token."
    )
    normal_gap_seconds: float = Field(
        default=0.2, gt=0, le=60, description="Target for requests of class normal: longest time between two tokens of a stream."
    )
    low_first_token_seconds: float = Field(
        default=60.0, gt=0, le=3600, description="Target for requests of class low: longest time to the first token."
    )
    low_gap_seconds: float = Field(
        default=1.0, gt=0, le=60, description="Target for requests of class low: longest time between two tokens of a stream."
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
    kernels: Literal["auto", "on", "reference", "off"] = Field(
        default="auto",
        description="Attend and write pages by kernels of Pomona's own. auto: on CUDA, and on Linux CPUs with a C compiler; on: on Metal "
        "too; reference: as the kernels must do it, in plain MLX (slow, for tests); off: by MLX's own operations.",
    )
    attention_window: int | None = Field(
        default=None,
        ge=16,
        description="Layers that would see the whole context see the last so many tokens, and keep no others: memory no longer grows with "
        "the context, and what came before is forgotten. Unset: all.",
    )
    attention_sinks: int = Field(
        default=4, ge=0, le=4096, description="With `attention_window`: the first so many tokens stay in sight, or models lose their way."
    )
    prefix_cache: bool = Field(default=True, description="Reuse the pages of equal prompt beginnings.")
    recurrent_snapshot_bytes: int = Field(
        default=2**28, ge=0, description="Budget for state snapshots of recurrent (hybrid) models, in bytes."
    )
    disk_cache_bytes: int = Field(
        default=2**32,
        ge=0,
        description="Disk space for the beginnings of prompts, of all models together, in bytes: they survive restarts. Never more than a "
        "quarter of what is free there; 0: none.",
    )
    launch_ahead: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Start each pass while the one before it runs. auto: where pages are written in place, since elsewhere it copies them.",
    )
    compile: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Trace a decode pass once for each of its shapes and replay that. auto: on GPUs; on a CPU it needs a C compiler.",
    )
    speculation: Literal["auto", "lookup", "draft", "off"] = Field(
        default="auto",
        description="Guess tokens ahead and check them in one pass; the text does not change. lookup: always, from the row's own text; "
        "draft: always, by a small model; auto: by both, where it pays.",
    )
    speculation_tokens: int = Field(default=4, ge=1, le=16, description="Most tokens that are guessed ahead for a row in one step.")
    adapter_bytes: int = Field(
        default=2**30, ge=0, description="Memory for LoRA adapters in one engine, in bytes; the least recently used go first."
    )
    picture_cache_bytes: int = Field(
        default=2**28,
        ge=0,
        description="Memory for what the vision part made of pictures, in bytes; a repeated picture is not computed again.",
    )


class FleetSettings(Section):
    """Engine processes and their supervision."""

    heartbeat_seconds: float = Field(default=1.0, gt=0, le=60, description="How often an idle engine proves that its device still works.")
    hang_seconds: float = Field(default=8.0, gt=1, le=3600, description="An engine silent this long is killed and started again.")
    busy_seconds: float = Field(
        default=180.0,
        gt=1,
        le=86400,
        description="Longest silence of an engine that has said before that a step will take long, such as one that compiles kernels.",
    )
    load_seconds: float = Field(default=900.0, gt=1, le=86400, description="Longest time that loading a model may take.")
    ready_wait_seconds: float = Field(
        default=30.0, ge=0, le=3600, description="A request that finds the engine loading or restarting waits this long, then gets 503."
    )
    max_restarts: int = Field(
        default=5, ge=0, le=1000, description="Restarts in a row, without a finished request between, before giving up."
    )
    max_resumes: int = Field(
        default=20, ge=0, le=1000, description="An answer goes on in the next engine this often when engines die under it; then it fails."
    )
    quarantine_seconds: float = Field(
        default=600.0, ge=0, le=86400 * 30, description="A request that killed two engines in a row is refused this long; 0: not at all."
    )
    reader_high_water: int = Field(default=512, ge=8, le=100_000, description="Unread tokens after which a slow reader's row is paused.")


class ModelOverrides(Section):
    """What differs for one model from the settings for all. Unset fields leave the general setting in force."""

    pin: bool = Field(default=False, description="Load at the start and never unload for others or when idle.")
    preload: bool = Field(default=False, description="Load and warm up at the start; `/ready` waits for it.")
    keep_alive_seconds: float | None = Field(
        default=None, ge=-1, description="Stay loaded this long after the last request; 0: unload at once, -1: for ever."
    )
    max_context: int | None = Field(default=None, ge=16, description="As engine.max_context.")
    kv_cache_bytes: int | None = Field(default=None, ge=4096, description="As engine.kv_cache_bytes.")
    kv_bits: Literal[4, 8] | None = Field(default=None, description="As engine.kv_bits.")
    draft: str | None = Field(
        default=None, description="A small model of the same vocabulary that drafts for this one; see engine.speculation."
    )
    chat_template: Path | None = Field(default=None, description="Chat template (a Jinja file) instead of the one in the model's folder.")


class ModelsSettings(Section):
    """Which model is served, and where models are looked for."""

    default: str = Field(default="pomona-tiny", description="Model that `serve`, `chat` and `generate` use.")
    aliases: dict[str, str] = Field(default_factory=dict, description="Names of your own for models: alias = reference.")
    stands_in_for: tuple[str, ...] = Field(
        default=("claude-*", "gpt-*", "codex-*", "chatgpt-*", "o[134]*"),
        description="Patterns of names, such as those that Claude Code and Codex ask for, that mean the default model.",
    )
    folders: tuple[Path, ...] = Field(default=(), description="Folders whose subfolders are models.")
    adapter_folders: tuple[Path, ...] = Field(
        default=(), description="Folders whose subfolders are LoRA adapters, asked for as MODEL+NAME."
    )
    adapters: dict[str, Path] = Field(default_factory=dict, description="LoRA adapters by name: name = folder, asked for as MODEL+NAME.")
    serve_all: bool = Field(
        default=True,
        description="Requests may name any model on this machine, and it is loaded when asked for; false: the default model only.",
    )
    overrides: dict[str, ModelOverrides] = Field(
        default_factory=dict, description='What differs for one model, by its name or alias: [models.overrides."NAME"].'
    )
    tasks: dict[str, Literal["generate", "embed", "rerank"]] = Field(
        default_factory=dict, description="What models are for, by name, where their files do not tell: generate, embed or rerank."
    )
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
    quantized_on_gpu: Literal["auto", "packed", "expanded"] = Field(
        default="auto",
        description="How quantised weights multiply on a GPU: packed as stored, expanded, or (auto, on CUDA) either by the number of rows, "
        "as measured when the model is loaded.",
    )
    expanded_share: float = Field(
        default=0.3, ge=0, le=0.9, description="Most of the GPU memory free after loading that expanded copies of weights may take."
    )
    pack_on_cpu: Literal["quantized", "all", "off"] = Field(
        default="quantized", description="On CPUs, keep packed copies to multiply by: of quantised weights, of 16-bit ones too, or none."
    )
    constrain_tool_calls: bool = Field(
        default=True,
        description="Calls that a model makes of its own accord are held to the tools' names and schemas. Required, named and strict "
        "calls always are.",
    )
    chat_template: Path | None = Field(
        default=None, description="Chat template (a Jinja file) for the default model; unset: the one in the model's folder."
    )


class HubSettings(Section):
    """The model hub (Hugging Face, or a mirror that speaks its protocol)."""

    endpoint: str | None = Field(
        default=None, description="Address of the hub or a mirror; unset: HF_ENDPOINT, else https://huggingface.co."
    )
    token: str | None = Field(
        default=None, description="Token for gated and private repositories; unset: HF_TOKEN, else the one of `hf auth login`."
    )
    offline: bool = Field(default=False, description="Never ask the hub: only what is on this machine is used.")
    workers: int = Field(default=4, ge=1, le=32, description="Files that are downloaded at a time.")
    retries: int = Field(default=5, ge=0, le=100, description="A download that breaks is taken up again this often, where it stopped.")
    timeout_seconds: float = Field(default=30.0, gt=0, le=3600, description="A hub that is silent this long counts as gone.")
    registry_file: Path | None = Field(
        default=None, description="File of registered models, aliases and pins; unset: models.json in the user's data folder."
    )
    converted_folder: Path | None = Field(
        default=None, description="Where models go that were quantised or converted here; unset: `models` in the user's data folder."
    )


class ResidencySettings(Section):
    """Which models are in memory at a time, and for how long."""

    memory_bytes: int | None = Field(
        default=None, ge=2**20, description="Budget of all loaded models together, in bytes; unset: a share of this machine's memory."
    )
    memory_share: float = Field(default=0.8, gt=0, le=0.95, description="Share of memory for models where `memory_bytes` is unset.")
    max_models: int = Field(default=8, ge=1, le=256, description="Most models that are loaded at a time.")
    keep_alive_seconds: float | None = Field(
        default=None,
        ge=-1,
        description="A model stays loaded this long after its last request; 0: unload at once, -1: for ever; unset: by memory, 600 from "
        "64 GB, 300 from 24 GB, else 180. The default model stays.",
    )
    preload: tuple[str, ...] = Field(default=(), description="Models to load and warm up at the start; `/ready` waits for them.")
    load_wait_seconds: float = Field(
        default=600.0, gt=0, le=86400, description="A request that needs a model loaded waits at most this long, then gets 503."
    )
    spare_process: bool = Field(
        default=True, description="Keep an engine process without a model ready, so that the next load does not wait for its start."
    )
    guard: bool = Field(default=True, description="Watch free memory and act before the system runs out of it.")
    guard_levels: tuple[float, float, float, float] = Field(
        default=(3.0, 2.0, 1.0, 0.5),
        description="Free memory in GB (2**30) below which the guard is at caution, warning, critical and emergency.",
    )


class PicturesSettings(Section):
    """Pictures in requests."""

    max_count: int = Field(default=5, ge=0, le=1000, description="Most pictures in one request.")
    max_bytes: int = Field(default=10 * 2**20, ge=1024, le=2**30, description="Largest picture, as sent, in bytes.")
    max_pixels: int = Field(default=50_000_000, ge=1024, le=2**31, description="Largest picture, in pixels.")
    max_side: int | None = Field(
        default=None,
        ge=28,
        description="Longer sides are scaled down to this many pixels; unset: by memory, 1024 from 64 GB, 768 from 32 GB, else 512.",
    )
    max_pdf_pages: int = Field(default=5, ge=0, le=1000, description="Most pages of a PDF that become pictures; 0: PDFs are refused.")
    fetch: bool = Field(default=True, description="Load pictures from http(s) addresses of the public internet.")
    fetch_private: tuple[str, ...] = Field(
        default=(), description="Hosts or networks (10.0.0.0/8) of the private net that pictures may be loaded from."
    )
    fetch_seconds: float = Field(default=10.0, gt=0, le=600, description="Longest time for loading one picture.")
    folders: tuple[Path, ...] = Field(default=(), description="Folders whose files may be named by file: addresses; none by default.")
    cache_bytes: int = Field(
        default=64 * 2**20, ge=0, le=2**40, description="Memory for decoded and resized pictures in bytes, so that later turns find them."
    )


class VectorsSettings(Section):
    """Embeddings and reranking."""

    batch_tokens: int = Field(default=8192, ge=64, le=2**20, description="Most tokens in one pass, padding included.")
    max_inputs: int = Field(default=2048, ge=1, le=100_000, description="Most texts in one request.")
    max_documents: int = Field(default=1000, ge=1, le=100_000, description="Most documents in one rerank request.")
