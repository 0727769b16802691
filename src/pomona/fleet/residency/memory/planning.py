"""What a model will need, before a byte of it is loaded: from the headers of its files, and from what was measured the last time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from pomona.core.settings import STEP_TOKENS_ON_CPU, STEP_TOKENS_ON_GPU, EngineSettings
from pomona.core.status import MemoryPlan
from pomona.models.tasks import is_encoder
from pomona.models.validation import FolderFacts

PROCESS_BYTES = 96 * 2**20
"""An engine process without weights: interpreter, MLX and mlx-lm (Linux: 51 MiB of its own before it has a model, 80 with one)."""
UNKNOWN_KV_BYTES = 2**28
"""Least room for keys and values where the config does not say how large they are."""
LONGEST_TEXT = 8192
"""Tokens of a text where the config of a model for vectors does not say how many it takes."""
JUDGED_TOKENS = 64
"""A document in the prompt by which a decoder judges it has more tokens than that."""
LEAST_PAGES = 8
SMALLEST_KV_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a model needs wherever it runs, and how many bytes of keys and values it can use. `plan` fits it into the room there is."""

    weights: int
    activations: int
    process: int
    kv_least: int
    """For one row of the longest context, unless that is more than its share of all memory."""
    kv_most: int
    kv_share: float | None
    """Share of the room beside weights that keys and values get, between least and most; None: exactly `kv_most`."""

    @property
    def fixed(self) -> int:
        """What does not depend on the room."""
        return self.weights + self.activations + self.process

    @property
    def least(self) -> int:
        """Bytes without which it cannot be loaded."""
        return self.fixed + self.kv_least

    def plan(self, room: int) -> MemoryPlan | None:
        """The plan for `room` bytes; None where it does not fit."""
        if room < self.least:
            return None
        kv = self.kv_most if self.kv_share is None else int(self.kv_share * (room - self.fixed))
        kv = max(self.kv_least, min(kv, self.kv_most))
        return MemoryPlan(weights=self.weights, kv=kv, activations=self.activations, process=self.process)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a model took in earlier times in memory, in bytes: at rest after loading, and beside that at most; without keys and values."""

    resting: int
    working: int = 0


def estimate(
    facts: FolderFacts, settings: EngineSettings, *, expanded: bool, budget: int, measured: Measured | None = None, pass_tokens: int = 0
) -> Needs:
    """What the model of `facts` needs. `expanded`: its weights become float32, as they do on CPUs; `budget` is that of all models;
    `pass_tokens` go together through one that makes vectors.
    """
    element_bytes = 4 if expanded else 2
    weights = facts.parameters * 4 if expanded else facts.weight_bytes
    writes = facts.task == "generate"
    activations = _activation_bytes(facts, settings, element_bytes) if writes else _pass_bytes(facts, pass_tokens, element_bytes)
    process = PROCESS_BYTES
    if measured is not None:
        process = min(process, measured.resting)
        weights = measured.resting - process
        activations = max(measured.working, activations // 4)
    room = max(0, budget - weights - activations - process)
    least, most, share = _kv_bounds(facts, settings, element_bytes, room)
    return Needs(weights=weights, activations=activations, process=process, kv_least=least, kv_most=most, kv_share=share)


def kv_token_bytes(config: Mapping[str, object], element_bytes: int, kv_bits: int | None = None) -> int | None:
    """Keys and values of one token over all layers, as if every layer kept them; None where the config does not say."""
    numbers = _Numbers(config)
    layers, heads = numbers.get("num_hidden_layers", "n_layer", "n_layers"), numbers.get("num_attention_heads", "n_head", "n_heads")
    hidden = numbers.get("hidden_size", "n_embd", "d_model")
    if not layers or not heads or not hidden:
        return None
    latent = numbers.get("kv_lora_rank")
    if latent:  # DeepSeek's latent attention: mlx-lm keeps at most the expanded heads
        width = heads * ((numbers.get("qk_nope_head_dim") or 0) + (numbers.get("qk_rope_head_dim") or 0) + (numbers.get("v_head_dim") or 0))
    else:
        width = 2 * (numbers.get("num_key_value_heads", "n_kv_heads") or heads) * (numbers.get("head_dim") or hidden // heads)
    per_layer = width * element_bytes if kv_bits is None else width * kv_bits // 8 + width * element_bytes * 2 // 64
    return layers * per_layer


def _kv_bounds(facts: FolderFacts, settings: EngineSettings, element_bytes: int, room: int) -> tuple[int, int, float | None]:
    """Least and most bytes, and the share; exact where the settings are. Models for vectors keep nothing."""
    if facts.task != "generate":
        return 0, 0, None
    if settings.kv_cache_bytes is not None:
        return settings.kv_cache_bytes, settings.kv_cache_bytes, None
    token = kv_token_bytes(facts.config, element_bytes, settings.kv_bits)
    alone = int(settings.kv_cache_share * room)
    if token is None:
        return max(SMALLEST_KV_BYTES, min(UNKNOWN_KV_BYTES, alone)), max(SMALLEST_KV_BYTES, alone), settings.kv_cache_share
    context = min(facts.max_context or 8192, settings.max_context or 2**31)
    page = token * settings.page_tokens
    row = -(-context // settings.page_tokens) * page + LEAST_PAGES * page
    least = max(min(row, alone), LEAST_PAGES * page)
    return least, max(least, min(row * settings.max_rows, alone)), settings.kv_cache_share


def _activation_bytes(facts: FolderFacts, settings: EngineSettings, element_bytes: int) -> int:
    """One step at its widest: one layer for all its tokens, and logits of all rows in float32, some copies."""
    tokens = settings.step_token_budget or (STEP_TOKENS_ON_CPU if element_bytes == 4 else STEP_TOKENS_ON_GPU)
    layer = _layer_bytes(facts, max(tokens, settings.max_rows), element_bytes)
    return layer + settings.max_rows * (facts.vocabulary or 32768) * 4 * 3


def _pass_bytes(facts: FolderFacts, pass_tokens: int, element_bytes: int) -> int:
    """One pass of a model for vectors: a layer, a mask, and where words judge documents, the logits of all words."""
    longest = facts.max_context or LONGEST_TEXT
    tokens = max(pass_tokens, longest)
    judged = facts.task == "rerank" and not is_encoder(facts.config)
    logits = tokens // JUDGED_TOKENS * (facts.vocabulary or 32768) * 4 if judged else 0
    return _layer_bytes(facts, tokens, element_bytes) + tokens * min(longest, tokens) + logits


def _layer_bytes(facts: FolderFacts, tokens: int, element_bytes: int) -> int:
    """A few arrays of hidden and inner width."""
    numbers = _Numbers(facts.config)
    hidden, inner = numbers.get("hidden_size", "n_embd", "d_model") or 4096, numbers.get("intermediate_size", "n_inner", "ffn_dim")
    return tokens * (8 * hidden + 3 * (inner or 4 * hidden)) * element_bytes


class _Numbers:
    """Whole numbers of a config, from its part about text first."""

    def __init__(self, config: Mapping[str, object]) -> None:
        part = config.get("text_config")
        inner = cast("Mapping[str, object]", part) if isinstance(part, dict) else dict[str, object]()
        self._sources: tuple[Mapping[str, object], ...] = (inner, config)

    def get(self, *names: str) -> int | None:
        """The first that is there and positive."""
        found = (source.get(name) for source in self._sources for name in names)
        return next((value for value in found if isinstance(value, int) and not isinstance(value, bool) and value > 0), None)
