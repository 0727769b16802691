"""What a model folder is for, as its files tell. No MLX in here."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from pomona.core.status import Task

Json = Mapping[str, object]
ENCODER_TYPES: Mapping[str, str] = {
    "bert": "bert",
    "roberta": "roberta",
    "xlm-roberta": "roberta",
    "camembert": "roberta",
    "modernbert": "modernbert",
}
"""`model_type` to the module that defines it."""
_CARD_TASKS: Mapping[str, Task] = {"text-ranking": "rerank", "sentence-similarity": "embed", "feature-extraction": "embed"}
_CARD_BYTES = 20_000


def is_encoder(config: Json) -> bool:
    """Whether the architecture is one of `ENCODER_TYPES`, which cannot write text."""
    return config.get("model_type") in ENCODER_TYPES


def looks_both_ways(config: Json) -> bool:
    """Whether tokens see those behind them too: encoders, and decoders that were trained on for that."""
    text = config.get("text_config")
    parts = (config, cast("Json", text)) if isinstance(text, dict) else (config,)
    return is_encoder(config) or any(part.get("is_causal") is False or part.get("use_bidirectional_attention") is True for part in parts)


def positions_of(config: Json) -> int | None:
    """Tokens that an encoder's positions are enough for; None where its configuration does not say. RoBERTa's begin behind the padding."""
    found, padding = config.get("max_position_embeddings"), config.get("pad_token_id")
    if not isinstance(found, int):
        return None
    if ENCODER_TYPES.get(str(config.get("model_type"))) != "roberta":
        return found
    return found - 1 - (padding if isinstance(padding, int) else 1)


def task_of(folder: Path, config: Json) -> Task:
    """What the model does.

    Decoders write text, unless their files say otherwise: the class in config.json, sentence-transformers' files, the task on the model
    card, and last the folder's or the repository's name, because converted models often lack the other files.
    """
    named = _architecture(config)
    if named.endswith("ForSequenceClassification"):
        return "rerank"
    if is_encoder(config):
        return "embed"
    if (folder / "modules.json").is_file():
        return "rerank" if _scores(folder) else "embed"
    if (folder / "1_Pooling" / "config.json").is_file() or (named.endswith("Model") and "For" not in named):
        return "embed"
    return _card_task(folder) or _named_task(folder)


def _architecture(config: Json) -> str:
    names = config.get("architectures")
    return str(cast("list[object]", names)[0]) if isinstance(names, list) and names else ""


def _scores(folder: Path) -> bool:
    return '.LogitScore"' in (folder / "modules.json").read_text(encoding="utf-8", errors="replace")


def _card_task(folder: Path) -> Task | None:
    """The `pipeline_tag` in the head of README.md."""
    try:
        with (folder / "README.md").open(encoding="utf-8", errors="replace") as file:
            start = file.read(_CARD_BYTES)
    except OSError:
        return None
    head = start.split("\n---", 1)[0] if start.startswith("---") else ""
    found = re.search(r"^pipeline_tag:\s*([a-z-]+)", head, re.MULTILINE)
    return _CARD_TASKS.get(found[1]) if found else None


def _named_task(folder: Path) -> Task:
    """By `Qwen3-Embedding-0.6B` or `models--Qwen--Qwen3-Reranker-0.6B/snapshots/…`."""
    in_cache = folder.parent.name == "snapshots"
    name = (folder.parent.parent.name.rpartition("--")[2] if in_cache else folder.name).lower()
    if "reranker" in name:
        return "rerank"
    return "embed" if re.search(r"embed(ding)?(s|$|[-_.])", name) else "generate"
